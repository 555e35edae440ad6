import type { JobState } from '../api/types'

export type Tone = 'ok' | 'bad' | 'run' | 'warn' | 'lost' | 'idle'

const JOB_TONES: Record<JobState, Tone> = {
  QUEUED: 'idle',
  PLANNING: 'run',
  RUNNING: 'run',
  SUCCEEDED: 'ok',
  FAILED: 'bad',
  CANCELLED: 'warn',
  LOST: 'lost',
}

export const jobTone = (state: JobState): Tone => JOB_TONES[state]

export const isLive = (state: JobState) => state === 'QUEUED' || state === 'PLANNING' || state === 'RUNNING'

/** Of stages and attempts. */
export function stageTone(state: string): Tone {
  switch (state) {
    case 'succeeded':
      return 'ok'
    case 'failed':
      return 'bad'
    case 'running':
      return 'run'
    case 'cancelled':
      return 'warn'
    case 'lost':
      return 'lost'
    default:
      return 'idle'
  }
}

export function stateName(state: string): string {
  return state.charAt(0).toUpperCase() + state.slice(1).toLowerCase()
}

export function Chip({ tone, live = false, children }: { tone: Tone; live?: boolean; children: string }) {
  return (
    <span className={`chip chip--${tone}${live ? ' chip--live' : ''}`}>
      <span className="chip__dot" />
      {children}
    </span>
  )
}

export function JobChip({ state }: { state: JobState }) {
  return (
    <Chip tone={jobTone(state)} live={isLive(state)}>
      {stateName(state)}
    </Chip>
  )
}

export function StageChip({ state }: { state: string }) {
  return (
    <Chip tone={stageTone(state)} live={state === 'running'}>
      {stateName(state)}
    </Chip>
  )
}
