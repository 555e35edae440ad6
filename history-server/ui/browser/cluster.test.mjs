// A job of a real cluster, from its submission to the pages that tell of it.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { binary, up } from './cluster.mjs'
import { launch } from './server.mjs'

const SQL = 'select value % 7 as k, count(*) as n from generate_series(1, 100000) group by 1 order by 1'

describe('a real cluster', { skip: binary ? false : 'set PENSTOCK_BIN to a penstock binary; make test-ui does' }, () => {
  let cluster
  let browser
  let job

  before(async () => {
    cluster = up()
    browser = await launch()
    job = cluster.run('count_remainders', SQL)
  })

  after(async () => {
    await browser?.close()
    cluster?.down()
  })

  async function visit(path) {
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } })
    page.problems = []
    page.on('pageerror', (error) => page.problems.push(error.message))
    await page.goto(cluster.url + path)
    return page
  }

  async function done(page) {
    assert.deepEqual(page.problems, [])
    await page.close()
  }

  test('lists the job and shows its stages with their rows', async () => {
    assert.equal(job.state, 'SUCCEEDED')
    const page = await visit('/')
    await page.getByRole('link', { name: 'count_remainders' }).click()
    await page.locator('.job-head .chip', { hasText: 'Succeeded' }).waitFor()
    await page.getByTestId('stage-0').waitFor()
    assert.equal(await page.locator('[data-testid^=stage-]').count(), job.progress.stages_total)
    await page.getByTestId('operators').getByText('ExchangeWriteExec', { exact: true }).waitFor()
    await page.goto(`${cluster.url}/jobs/${job.job_id}?tab=stages`)
    await page.getByTestId('attempts').getByText('executor-1').first().waitFor()
    assert.equal(await page.locator('[data-testid=stages] tbody tr').count(), job.progress.stages_total)
    await done(page)
  })

  test('tells where the rows of each exchange lay', async () => {
    const page = await visit(`/jobs/${job.job_id}?tab=shuffle&stage=0`)
    const exchange = page.getByTestId('exchange')
    await exchange.getByText('3 partitions, because penstock.partitions is 3.').waitFor()
    await exchange.getByText('One copy (shuffle_copies)').waitFor()
    const workers = exchange.getByTestId('workers')
    await workers.getByText('worker-1').waitFor()
    await workers.getByText('worker-2').waitFor()
    await workers.getByText(/committed/).first().waitFor()
    assert.equal(await page.getByTestId('not-recorded').count(), 0)
    await done(page)
  })

  test('knows the machines that the job met', async () => {
    const page = await visit('/cluster')
    await page.getByTestId('executors').getByText('executor-1').waitFor()
    const worker = page.getByTestId('shuffle-workers').locator('tr', { hasText: 'worker-2' })
    await worker.getByText('Serving').waitFor()
    await worker.getByText('ssd').waitFor()
    await page.getByTestId('happened').getByText('joined at').first().waitFor()
    await done(page)
  })
})
