// A real cluster: coordinator, executors, shuffle service and history server as processes of their own.

import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** The binary under test, which `make test-ui` hands over; none if these tests are run alone. */
export const binary = process.env.PENSTOCK_BIN

export function up() {
  if (!existsSync(binary)) throw new Error(`PENSTOCK_BIN=${binary} is no file`)
  const state = mkdtempSync(path.join(tmpdir(), 'penstock-cluster-'))
  const options = { encoding: 'utf8', env: { ...process.env, PENSTOCK_CLUSTER_STATE: state }, maxBuffer: 64 << 20 }
  const penstock = (...args) => execFileSync(binary, args, options)
  const { history_url: url } = JSON.parse(penstock('cluster', 'up', '--port', '0', '--json'))
  return {
    url,
    /** Runs a query to its end; gives the job as the coordinator tells of it. */
    run: (name, sql) => {
      const job = ['--name', name, '-s', 'penstock.partitions=3', '-e', sql]
      return JSON.parse(penstock('submit', '--json', '--wait', ...job))
    },
    down: () => {
      penstock('cluster', 'down')
      rmSync(state, { recursive: true })
    },
  }
}
