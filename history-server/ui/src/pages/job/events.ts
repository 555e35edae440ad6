// One line about each event of a log. Pure; types of a newer version show as they are.

import type { LogEvent } from '../../api/types'

export const EVENT_TYPES = [
  'job_submitted',
  'job_started',
  'statement_planned',
  'statement_finished',
  'stage_started',
  'stage_finished',
  'attempt_started',
  'attempt_finished',
  'exchange_committed',
  'outputs_committed',
  'executor_joined',
  'executor_lost',
  'executor_sampled',
  'warning',
  'samples_dropped',
  'job_finished',
] as const

export function describe(event: LogEvent): string {
  const text = (field: string) => {
    const value = event[field]
    return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
  }
  const attempt = () => `stage ${text('stage')}, task ${text('task')}, attempt ${text('attempt')} on ${text('executor')}`
  switch (event.type) {
    case 'job_submitted':
      return `${text('name')} by ${text('owner') || 'nobody in particular'} from ${text('client')}`
    case 'statement_planned':
      return `statement ${text('statement')}, ${text('kind')}: ${text('sql').split('\n', 1)[0] ?? ''}`
    case 'statement_finished':
      return `statement ${text('statement')}`
    case 'stage_started':
      return `stage ${text('stage')}`
    case 'stage_finished':
      return `stage ${text('stage')} ${text('state')}`
    case 'attempt_started':
      return attempt()
    case 'attempt_finished':
      return `${attempt()}: ${text('state')}${failureOf(event)}`
    case 'exchange_committed':
      return `stage ${text('stage')}, ${Array.isArray(event.partitions) ? event.partitions.length : 0} partitions`
    case 'outputs_committed':
      return `${text('rows')} rows in ${text('files')} files to ${text('target')}`
    case 'executor_joined':
      return `${text('executor')} on ${text('host')} with ${text('slots')} slots`
    case 'executor_lost':
      return `${text('executor')}: ${text('reason')}`
    case 'executor_sampled':
      return `${text('executor')} used ${text('cpu_used')} cores, ${text('memory_used_bytes')} bytes of memory`
    case 'warning':
      return text('message')
    case 'samples_dropped':
      return `${text('count')} samples`
    case 'job_finished':
      return `${text('state')}${failureOf(event)}`
    default:
      return ''
  }
}

function failureOf(event: LogEvent): string {
  const failure = event.failure
  if (typeof failure !== 'object' || failure === null || !('message' in failure)) return ''
  return typeof failure.message === 'string' ? `: ${failure.message}` : ''
}
