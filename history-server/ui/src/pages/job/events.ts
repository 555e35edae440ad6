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
  'shuffle_placed',
  'shuffle_grew',
  'shuffle_committed',
  'shuffle_lost',
  'shuffles_released',
  'stage_run_again',
  'exchange_committed',
  'outputs_committed',
  'executor_joined',
  'executor_draining',
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
  const length = (field: string) => {
    const value = event[field]
    return Array.isArray(value) ? value.length : 0
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
      return `stage ${text('stage')}, ${length('partitions')} partitions`
    case 'shuffle_placed':
      return `stage ${text('stage')}, ${text('partitions')} partitions on ${length('workers')} workers`
    case 'shuffle_grew':
      return `stage ${text('stage')}, ${length('partitions')} partitions went on in new epochs`
    case 'shuffle_committed':
      return `stage ${text('stage')}, ${text('partitions')} partitions, ${text('epochs_added')} epochs added`
    case 'shuffle_lost':
      return `stage ${text('stage')}: ${text('reason')}`
    case 'shuffles_released':
      return `${length('shuffles')} shuffles`
    case 'stage_run_again':
      return `stage ${text('stage')} because ${text('reason')}`
    case 'executor_draining':
      return text('executor')
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
