// What the shuffle tab says about exchanges. Pure.

import type { ExchangeHistory, ShuffleWorker } from '../../api/types'
import { count, plural, short } from '../../lib/format'

/** Where the rows go: "stage 7", "stages 5 and 6", "the client". */
export function destination(readers: number[]): string {
  if (readers.length === 0) return 'the client'
  const names = readers.map(String)
  const last = names.pop() ?? ''
  return names.length === 0 ? `stage ${last}` : `stages ${names.join(', ')} and ${last}`
}

const REASONS: Record<string, string> = {
  grown: 'split',
  full: 'full',
  closing: 'worker leaving',
  turned_away: 'no connection',
  worker_lost: 'worker lost',
  replica_lost: 'copy lost',
  damaged: 'damaged',
  other: 'other',
}

/** "3 split, 1 worker lost"; nothing if no partition moved. */
export function epochs(exchange: ExchangeHistory): string {
  return exchange.epoch_reasons
    .map((reason) => `${short(reason.partitions)} ${REASONS[reason.why] ?? reason.why}`)
    .join(', ')
}

/** The exchange in the page's address, or else the most telling one: what was lost or failed over, what is largest. */
export function chosen(exchanges: ExchangeHistory[], wanted: string | null): ExchangeHistory | undefined {
  const largest = [...exchanges].sort((a, b) => b.bytes - a.bytes)[0]
  return (
    exchanges.find((exchange) => String(exchange.stage) === wanted) ??
    exchanges.find((exchange) => exchange.lost_runs.length > 0 || exchange.state === 'lost') ??
    exchanges.find((exchange) => exchange.workers.some(isTroubled)) ??
    largest
  )
}

export function isTroubled(worker: ShuffleWorker): boolean {
  return worker.failed > 0 || worker.suspected > 0
}

/** "12 first copies, 4 second, 1 more later". */
export function placement(worker: ShuffleWorker): string {
  const parts = [
    worker.primaries > 0 ? `${count(worker.primaries)} first` : '',
    worker.replicas > 0 ? `${count(worker.replicas)} second` : '',
    worker.added > 0 ? `${count(worker.added)} added` : '',
  ].filter(Boolean)
  return parts.join(', ')
}

/** What workers said when the exchange was committed. */
export function verdicts(worker: ShuffleWorker): string {
  const parts = [
    worker.committed > 0 ? `${count(worker.committed)} committed` : '',
    worker.empty > 0 ? `${count(worker.empty)} empty` : '',
    worker.failed > 0 ? `${count(worker.failed)} failed` : '',
  ].filter(Boolean)
  return parts.join(', ')
}

/** Time lost to the shuffle, and what was done again for it. */
export function efforts(exchange: ExchangeHistory): string[] {
  const { write, read } = exchange
  const said = (n: number, word: string, words: string, what: string) => (n > 0 ? `${short(n)} ${n === 1 ? word : words} ${what}` : '')
  return [
    said(write.pushes_resent, 'push', 'pushes', 'sent again'),
    said(write.batches_revived, 'batch', 'batches', 'moved to a new epoch'),
    said(read.failovers, 'read', 'reads', 'from another copy'),
    said(read.streams_reopened, 'stream', 'streams', 'opened again'),
    said(read.batches_skipped, 'batch', 'batches', 'read for nothing'),
  ].filter(Boolean)
}

/** One line for screen readers and tooltips. */
export function summary(exchange: ExchangeHistory): string {
  return `${plural(exchange.partitions, 'partition')}, ${short(exchange.rows)} rows`
}
