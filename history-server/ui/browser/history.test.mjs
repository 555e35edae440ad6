// What a user sees and does, in a real browser against a real server.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { launch, serve } from './server.mjs'

let server
let browser
/** What the logs tell of happened just before. */
let written

before(async () => {
  server = await serve()
  written = Date.now()
  browser = await launch()
})

after(async () => {
  await browser?.close()
  await server?.stop()
})

/** A page whose errors fail the test; with `at` its clock stands still. */
async function visit(path, { at, ...options } = {}) {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, ...options })
  if (at) await page.clock.setFixedTime(at)
  page.problems = []
  page.on('pageerror', (error) => page.problems.push(error.message))
  page.on('console', (message) => {
    // The browser reports each 404 by itself; a job that is not there is no fault of the page.
    if (message.type() === 'error' && !message.text().includes('404')) page.problems.push(message.text())
  })
  await page.goto(server.url + path)
  return page
}

async function done(page) {
  assert.deepEqual(page.problems, [])
  await page.close()
}

const names = (page) => page.locator('.jobs-table__name a').allTextContents()

describe('the list', () => {
  test('shows live and finished jobs and opens one', async () => {
    const page = await visit('/')
    await page.getByRole('link', { name: 'user_features_daily' }).waitFor()
    assert.deepEqual((await names(page)).slice(0, 3), ['nightly_vacuum', 'user_features_daily', 'tpch_q05_revenue'])
    assert.equal(await page.locator('tr', { hasText: 'embeddings_backfill' }).locator('.chip').textContent(), 'Lost')
    await page.getByRole('link', { name: 'tpch_q05_revenue' }).first().click()
    await page.getByRole('heading', { level: 1, name: 'tpch_q05_revenue' }).waitFor()
    await done(page)
  })

  test('keeps its search in the address', async () => {
    const page = await visit('/')
    await page.getByRole('link', { name: 'user_features_daily' }).waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('o_custky')
    await page.waitForURL('**/?q=o_custky')
    await page.waitForFunction(() => document.querySelectorAll('.jobs-table__name').length === 1)
    assert.deepEqual(await names(page), ['top_customers'])
    await page.reload()
    await page.getByRole('link', { name: 'top_customers' }).waitFor()
    assert.equal(await page.getByRole('searchbox').inputValue(), 'o_custky')
    await done(page)
  })

  test('narrows to states and says when nothing is left', async () => {
    const page = await visit('/')
    await page.getByRole('button', { name: /^Failed/ }).click()
    await page.waitForURL('**/?state=FAILED')
    await page.waitForFunction(() => [...document.querySelectorAll('.jobs-table .chip')].every((chip) => chip.textContent === 'Failed'))
    await page.getByRole('searchbox').fill('nothing like this')
    await page.getByText('No job matches this search').waitFor()
    await page.getByRole('button', { name: 'Clear the search' }).click()
    await page.getByRole('link', { name: 'nightly_vacuum' }).waitFor()
    await done(page)
  })
})

describe('a job', () => {
  test('shows its stages as a graph and the operators of the stage that is clicked', async () => {
    const page = await visit(`/jobs/${server.jobs.succeeded}`)
    await page.getByTestId('stage-9').waitFor()
    assert.equal(await page.locator('[data-testid^=stage-]').count(), 10)
    assert.equal(await page.locator('.react-flow__edge').count(), 9)
    await page.locator('.edge-label', { hasText: '60.0 M rows' }).waitFor()
    await page.getByTestId('stage-4').click()
    await page.waitForURL(/stage=4/)
    const operators = page.getByTestId('operators')
    await operators.getByText('Scan(lineitem)').waitFor()
    assert.deepEqual(await operators.locator('.operators__name').allTextContents(), ['ExchangeWriteExec', 'DataSourceExec'])
    await operators.getByRole('button', { name: 'Details of DataSourceExec' }).click()
    await operators.getByText('Pushdown rows pruned').waitFor()
    await page.locator('.react-flow__node[data-id="2"]').focus()
    await page.keyboard.press('Enter')
    await operators.getByText('Scan(customer)').waitFor()
    await done(page)
  })

  test('shows what stands out and leads to the stage', async () => {
    const page = await visit(`/jobs/${server.jobs.succeeded}`)
    await page.getByText('The slowest task of HashJoin(l_orderkey = o_orderkey)').waitFor()
    await page.getByRole('link', { name: 'Stage 6' }).click()
    const selected = page.locator('[data-testid=stages] tr[aria-selected=true]')
    await selected.waitFor()
    assert.match(await selected.textContent(), /HashJoin\(l_orderkey = o_orderkey\)/)
    await page.getByTestId('attempts').getByText('executor-1').first().waitFor()
    await page.getByTestId('attempts').getByRole('button', { name: 'Run', exact: true }).click()
    await page.waitForFunction(() => document.querySelector('[data-testid=attempts] tbody td')?.textContent === '2')
    await done(page)
  })

  test('has its tabs in the address and under the arrow keys', async () => {
    const page = await visit(`/jobs/${server.jobs.succeeded}?tab=timeline`)
    await page.getByRole('img', { name: /attempts on executor-1/ }).waitFor()
    await page.getByRole('tab', { name: 'Timeline' }).focus()
    for (const [tab, text] of [
      ['stages', 'Attempts'],
      ['sql', 'Script'],
      ['shuffle', 'Why this way'],
      ['settings', 'penstock.partitions'],
      ['events', 'tpch_q05_revenue by ada from cli'],
    ]) {
      await page.keyboard.press('ArrowRight')
      await page.waitForURL(new RegExp(`tab=${tab}`))
      await page.getByText(text).first().waitFor()
    }
    await done(page)
  })

  test('tells of its exchanges, and of the one in the address', async () => {
    const page = await visit(`/jobs/${server.jobs.succeeded}?tab=shuffle`)
    // The one where something went wrong.
    const exchange = page.getByTestId('exchange')
    await exchange.getByText('2 copies (shuffle_copies): losing one worker loses nothing.').waitFor()
    await exchange.getByText('on shuffle-3 could not be committed; another copy of each was good.').waitFor()
    await page.getByTestId('story').getByText('Worker shuffle-3 could not commit').waitFor()
    assert.equal(await page.locator('[data-testid=exchanges] tbody tr').count(), 9)
    await page.getByText('1 split, 1 worker lost, 1 copy lost').waitFor()
    await page.locator('[data-testid=exchanges] tr', { hasText: 'Stage 4 →' }).focus()
    await page.keyboard.press('Enter')
    await page.waitForURL(/tab=shuffle&stage=4/)
    await exchange.getByRole('heading', { name: /lineitem.*→ stage 6/ }).waitFor()
    await page.reload()
    await exchange.getByRole('heading', { name: /lineitem.*→ stage 6/ }).waitFor()
    await exchange.getByRole('link', { name: 'shuffle-1' }).click()
    await page.waitForURL(/\/cluster#shuffle-1/)
    await page.locator('tr[aria-selected=true]', { hasText: 'shuffle-1' }).waitFor()
    await done(page)
  })

  test('whose shuffle was lost tells what happened in a sentence', async () => {
    const page = await visit(`/jobs/${server.jobs.shuffle_lost}?tab=shuffle`)
    const story = page.getByTestId('story')
    await story.getByText('wrote was lost: partition 1 on worker shuffle-2: connection refused.').waitFor()
    await story.getByText('Stage 0 (Scan(impressions)) ran again from its first task.').waitFor()
    await page.getByTestId('exchanges').getByText('run 2').waitFor()
    await done(page)
  })

  test('without an exchange, or with an old log, says so', async () => {
    const page = await visit(`/jobs/${server.jobs.no_exchange}?tab=shuffle`)
    await page.getByText('Nothing was shuffled').waitFor()
    await page.goto(`${server.url}/jobs/${server.jobs.old}?tab=shuffle`)
    await page.getByTestId('not-recorded').waitFor()
    await page.getByText('Bytes by partition').waitFor()
    assert.equal(await page.getByRole('columnheader', { name: 'Copies' }).count(), 0)
    await done(page)
  })

  test('that failed says what went wrong, where, and what to do', async () => {
    const page = await visit(`/jobs/${server.jobs.failed}`)
    const banner = page.getByTestId('failure')
    await banner.getByText('part-00011.parquet: row group 3').waitFor()
    assert.match(await banner.textContent(), /USER_DATA.*Running it again will not help.*The file is damaged.*task 13/s)
    await done(page)
  })

  test('with wrong SQL opens at its script', async () => {
    const page = await visit(`/jobs/${server.jobs.sql_error}`)
    await page.getByTestId('failure').getByText('Did you mean `o_custkey`?').waitFor()
    assert.equal(await page.getByRole('tab', { name: 'SQL' }).getAttribute('aria-selected'), 'true')
    await done(page)
  })

  test('that runs shows its progress and goes on by itself', async () => {
    const page = await visit(`/jobs/${server.jobs.running}`)
    await page.getByText(/of 78 tasks, \d+ running/).waitFor()
    const again = await page.waitForResponse((response) => response.url().endsWith(`/api/v1/jobs/${server.jobs.running}`))
    assert.equal(again.status(), 200)
    await done(page)
  })

  test('whose coordinator was killed is there as far as it was written', async () => {
    const page = await visit(`/jobs/${server.jobs.killed}`)
    await page.getByTestId('lost').waitFor()
    await page.getByTestId('stage-6').waitFor()
    await done(page)
  })

  test('that does not exist is named', async () => {
    const page = await visit('/jobs/01a1fd36-fd17-78dd-a6e4-00000000ffff')
    await page.getByText('There is no such job here').waitFor()
    await done(page)
  })
})

describe('the cluster', () => {
  test('is what the logs say, with the time', async () => {
    const page = await visit('/', { at: written })
    await page.getByRole('link', { name: 'Cluster' }).click()
    await page.getByText('This page is made from event logs alone.').waitFor()
    await page.getByTestId('source').getByText(/newest jobs saw it.*running/).waitFor()
    assert.deepEqual(await page.locator('[data-testid=executors] .cluster__node').allTextContents(), [
      'executor-1',
      'executor-2',
      'executor-3',
    ])
    await page.getByTestId('executors').getByText('In use').first().waitFor()
    const workers = page.getByTestId('shuffle-workers')
    await workers.getByText('Serving').first().waitFor()
    await workers.locator('tr', { hasText: 'shuffle-3' }).getByText('Silent').waitFor()
    const excluded = workers.locator('tr', { hasText: 'shuffle-5' })
    await excluded.getByText('slow disk').waitFor()
    await excluded.getByText('Hung').waitFor()
    await page.getByTestId('happened').getByText('hdd disk /mnt/hdd0 is HUNG').waitFor()
    assert.equal(await page.getByTestId('watch-old').count(), 0)
    await page.getByTestId('happened').getByText('was lost: no heartbeat for 10 s').first().waitFor()
    await done(page)
  })
})

describe('the look', () => {
  test('follows the system and remembers a choice', async () => {
    const page = await visit('/', { colorScheme: 'dark' })
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme)
    assert.equal(await theme(), 'dark')
    await page.getByRole('button', { name: /^Theme: system/ }).click()
    assert.equal(await theme(), 'light')
    await page.reload()
    assert.equal(await theme(), 'light')
    await done(page)
  })

  for (const width of [1440, 800]) {
    test(`fits ${width} pixels in every view`, async () => {
      const page = await visit('/', { viewport: { width, height: 900 } })
      const job = server.jobs.succeeded
      const tabs = ['plan', 'timeline', 'stages', 'sql', 'shuffle', 'settings', 'events']
      for (const path of ['/', ...tabs.map((tab) => `/jobs/${job}?tab=${tab}`), `/jobs/${server.jobs.failed}`, '/cluster']) {
        await page.goto(server.url + path)
        await page.getByRole('heading', { level: 1 }).waitFor()
        await page.waitForFunction(() => !document.querySelector('.skeleton'))
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
        assert.ok(overflow <= 0, `${path} is ${overflow} pixels too wide`)
      }
      await done(page)
    })
  }

  test('every file of the page may be cached for ever, the page itself may not', async () => {
    const index = await fetch(`${server.url}/`)
    assert.equal(index.headers.get('cache-control'), 'no-cache')
    const [asset] = /\/assets\/[^"]+\.js/.exec(await index.text())
    const script = await fetch(server.url + asset)
    assert.equal(script.headers.get('cache-control'), 'public, max-age=31536000, immutable')
  })
})
