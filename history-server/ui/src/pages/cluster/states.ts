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
}

/** Of a limit, from 0 to 1; without a limit nothing. */
export function share(used: number, limit: number): number {
  return limit > 0 ? Math.min(1, used / limit) : 0
}
