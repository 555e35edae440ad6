import { describe, expect, test } from 'vitest'
import type { ExchangeHistory, ShuffleWorker } from '../../api/types'
import { chosen, destination, efforts, epochs, placement, verdicts } from './exchanges'

const worker: ShuffleWorker = {
  worker: 'shuffle-1',
  address: null,
  primaries: 0,
  replicas: 0,
  added: 0,
  rows: 0,
  bytes: 0,
  stored_bytes: null,
  committed: 0,
  empty: 0,
  failed: 0,
  suspected: 0,
  trouble: null,
}

function exchange(change: Partial<ExchangeHistory>): ExchangeHistory {
  const spread = { count: 0, sum: 0, min: 0, p25: 0, median: 0, p75: 0, p95: 0, max: 0 }
  return {
    stage: 0,
    name: 'Scan(a)',
    output: 'hash(a)',
    readers: [1],
    run: 0,
    state: 'committed',
    partitions: 8,
    partitions_empty: null,
    copies: null,
    codec: null,
    rows: 0,
    bytes: 0,
    batches: 0,
    partition_bytes: spread,
    partition_rows: spread,
    skew: null,
    largest: [],
    placed_at: null,
    committed_at: null,
    released_at: null,
    placed_waited_ms: null,
    commit_took_ms: null,
    epochs_added: 0,
    epoch_reasons: [],
    write: { wait_ms: 0, pushes: 0, pushes_resent: 0, batches_revived: 0, partitions_moved: 0 },
    read: { wait_ms: 0, failovers: 0, streams_reopened: 0, batches_skipped: 0 },
    workers: [],
    lost_runs: [],
    why: [],
    ...change,
  }
}

describe('an exchange', () => {
  test('names its readers', () => {
    expect([destination([]), destination([7]), destination([5, 6, 9])]).toEqual([
      'the client',
      'stage 7',
      'stages 5, 6 and 9',
    ])
  })

  test('says why partitions moved, also for a reason of a newer version', () => {
    const reasons = [
      { why: 'grown', partitions: 3, text: '' },
      { why: 'moonlight', partitions: 1, text: '' },
    ]
    expect(epochs(exchange({ epoch_reasons: reasons }))).toBe('3 split, 1 moonlight')
    expect(epochs(exchange({}))).toBe('')
  })

  test('tells what was done again', () => {
    const write = { wait_ms: 0, pushes: 9, pushes_resent: 1, batches_revived: 12_000, partitions_moved: 1 }
    expect(efforts(exchange({ write }))).toEqual(['1 push sent again', '12.0 K batches moved to a new epoch'])
    expect(efforts(exchange({}))).toEqual([])
  })
})

describe('a worker', () => {
  test('says what it was given and what became of it', () => {
    const given = { ...worker, primaries: 1200, replicas: 3, added: 1, committed: 1200, failed: 4 }
    expect(placement(given)).toBe('1,200 first, 3 second, 1 added')
    expect(verdicts(given)).toBe('1,200 committed, 4 failed')
    expect(verdicts(worker)).toBe('')
  })
})

describe('the exchange that is shown', () => {
  const small = exchange({ stage: 1, bytes: 1 })
  const large = exchange({ stage: 2, bytes: 9 })
  const troubled = exchange({ stage: 3, workers: [{ ...worker, suspected: 1 }] })
  const lost = exchange({ stage: 4, lost_runs: [{ run: 0, at: '', reason: 'x' }] })

  test('is the one in the address', () => {
    expect(chosen([small, large, lost], '1')).toBe(small)
  })

  test('is else the one with a loss, with trouble, or the largest', () => {
    expect(chosen([small, large, troubled, lost], null)).toBe(lost)
    expect(chosen([small, large, troubled], '77')).toBe(troubled)
    expect(chosen([small, large], null)).toBe(large)
    expect(chosen([], null)).toBeUndefined()
  })
})
