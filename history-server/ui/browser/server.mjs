// The page under test: a real history server with made-up jobs, and a real Chromium.

import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const ui = path.dirname(import.meta.dirname)
const root = path.dirname(path.dirname(ui))

/** Where Debian puts it, unless `PENSTOCK_CHROMIUM` says otherwise. */
export async function launch() {
  const executablePath = process.env.PENSTOCK_CHROMIUM ?? '/usr/bin/chromium'
  if (!existsSync(executablePath)) {
    throw new Error(`there is no Chromium at ${executablePath}: install it, or set PENSTOCK_CHROMIUM`)
  }
  // Chromium's sandbox does not work as root, as in containers.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  return chromium.launch({ executablePath, args })
}

/** Runs the example, which embeds the page in `dist`: it fills a folder with jobs and serves it. */
export async function serve() {
  if (!existsSync(path.join(ui, 'dist/index.html'))) throw new Error('there is no page to test: run `npm run build`')
  const folder = mkdtempSync(path.join(tmpdir(), 'penstock-history-'))
  const server = spawn(binary(), ['--fixtures', folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = createInterface({ input: server.stdout })[Symbol.asyncIterator]()
  const jobs = JSON.parse((await lines.next()).value)
  const url = (await lines.next()).value
  const stop = async () => {
    const gone = new Promise((resolve) => server.once('exit', resolve))
    server.kill('SIGTERM')
    await gone
    rmSync(folder, { recursive: true })
  }
  return { url, jobs, folder, stop }
}

/** Handed over by `make test-ui`; built now for whoever runs the browser tests alone. */
function binary() {
  const options = { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }
  return process.env.PENSTOCK_SERVE ?? execFileSync('make', ['--silent', 'serve-example'], options).trim()
}
