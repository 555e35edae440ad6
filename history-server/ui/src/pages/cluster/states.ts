// How states of machines are called and coloured. Pure.

import type { Tone } from '../../components/state'

interface State {
  tone: Tone
  name: string
}

export const EXECUTOR_STATES: Record<string, State> = {
  in_use: { tone: 'run', name: 'In use' },
  draining: { tone: 'warn', name: 'Draining' },
  lost: { tone: 'lost', name: 'Lost' },
  seen: { tone: 'idle', name: 'Seen' },
}

export const WORKER_STATES: Record<string, State> = {
  holds_data: { tone: 'run', name: 'Holds data' },
  trouble: { tone: 'bad', name: 'Trouble' },
  seen: { tone: 'idle', name: 'Seen' },
  unmet: { tone: 'idle', name: 'Unknown' },
}

/** As a shuffle master names them. One that is not here is shown as it is. */
export const STANDINGS: Record<string, State> = {
  serving: { tone: 'ok', name: 'Serving' },
  suspected: { tone: 'warn', name: 'Suspected' },
  leaving: { tone: 'warn', name: 'Leaving' },
  draining: { tone: 'warn', name: 'Draining' },
  drained: { tone: 'idle', name: 'Drained' },
  excluded: { tone: 'warn', name: 'Excluded' },
  silent: { tone: 'lost', name: 'Silent' },
  left: { tone: 'idle', name: 'Left' },
}

export const DISK_STATES: Record<string, State> = {
  HEALTHY: { tone: 'ok', name: 'Healthy' },
  FULL: { tone: 'warn', name: 'Full' },
  FAILED: { tone: 'bad', name: 'Failed' },
  HUNG: { tone: 'bad', name: 'Hung' },
}

/** A coordinator that lives writes every 10 s. */
export function isOld(looked_at: string, now: number): boolean {
  return now - Date.parse(looked_at) > 45_000
}

/** Microseconds as "2.1 ms". */
export function millis(us: number): string {
  return `${(us / 1000).toFixed(us < 100_000 ? 1 : 0)} ms`
}

/** Of a limit, from 0 to 1; without a limit nothing. */
export function share(used: number, limit: number): number {
  return limit > 0 ? Math.min(1, used / limit) : 0
}
