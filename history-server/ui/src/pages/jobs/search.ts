import { STATES, type JobState } from '../../api/types'

/** What the list shows, as it stands in the page's address. */
export interface Search {
  q: string
  states: JobState[]
  since: string
  owner: string
  sort: string
  page: number
}

export const PAGE_SIZE = 50

export const SORTS = [
  { value: 'submitted', label: 'Newest first' },
  { value: 'duration', label: 'Longest first' },
  { value: 'shuffled', label: 'Most shuffled' },
  { value: 'name', label: 'By name' },
] as const

export const AGES = [
  { value: '', label: 'Any time' },
  { value: '1h', label: 'Last hour' },
  { value: '24h', label: 'Last 24 hours' },
  { value: '7d', label: 'Last 7 days' },
  { value: '30d', label: 'Last 30 days' },
] as const

export function parseSearch(params: URLSearchParams): Search {
  const states = (params.get('state') ?? '').split(',')
  const page = Number.parseInt(params.get('page') ?? '1', 10)
  const sort = params.get('sort') ?? ''
  return {
    q: params.get('q') ?? '',
    states: STATES.filter((state) => states.includes(state)),
    since: params.get('since') ?? '',
    owner: params.get('owner') ?? '',
    sort: SORTS.some((known) => known.value === sort) ? sort : 'submitted',
    page: Number.isFinite(page) && page > 0 ? page : 1,
  }
}

/** The address of a search: only what differs from the default, so that addresses stay short. */
export function searchParams(search: Search): URLSearchParams {
  const params = new URLSearchParams()
  if (search.q) params.set('q', search.q)
  if (search.states.length > 0) params.set('state', search.states.join(','))
  if (search.since) params.set('since', search.since)
  if (search.owner) params.set('owner', search.owner)
  if (search.sort !== 'submitted') params.set('sort', search.sort)
  if (search.page > 1) params.set('page', String(search.page))
  return params
}

/** What the server is asked for. */
export function apiParams(search: Search): URLSearchParams {
  const params = searchParams({ ...search, page: 1 })
  params.set('limit', String(PAGE_SIZE))
  if (search.page > 1) params.set('offset', String((search.page - 1) * PAGE_SIZE))
  return params
}

export function isFiltered(search: Search): boolean {
  return search.q !== '' || search.states.length > 0 || search.since !== '' || search.owner !== ''
}

export function toggleState(states: JobState[], state: JobState): JobState[] {
  return states.includes(state) ? states.filter((other) => other !== state) : [...states, state]
}
