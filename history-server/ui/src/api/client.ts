import type { Cluster, EventPage, Job, JobList, JobShuffle, TaskPage, Timeline } from './types'

/** An answer that is not the one that was asked for, with what to do about it. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly advice: string | null,
  ) {
    super(message)
  }
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  let response: Response
  try {
    response = await fetch(`/api/v1${path}`, { signal: signal ?? null, headers: { accept: 'application/json' } })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new ApiError(0, 'The history server does not answer', 'Check that it still runs, and reload')
  }
  if (response.ok) return (await response.json()) as T
  throw await failure(response)
}

async function failure(response: Response): Promise<ApiError> {
  try {
    const body = (await response.json()) as { error?: { message?: string; advice?: string | null } }
    return new ApiError(response.status, body.error?.message ?? response.statusText, body.error?.advice ?? null)
  } catch {
    return new ApiError(response.status, `${response.status} ${response.statusText}`, null)
  }
}

export const api = {
  jobs: (search: URLSearchParams, signal?: AbortSignal) => get<JobList>(`/jobs?${search.toString()}`, signal),
  job: (job: string, signal?: AbortSignal) => get<Job>(`/jobs/${encodeURIComponent(job)}`, signal),
  timeline: (job: string, signal?: AbortSignal) =>
    get<Timeline>(`/jobs/${encodeURIComponent(job)}/timeline`, signal),
  shuffle: (job: string, signal?: AbortSignal) =>
    get<JobShuffle>(`/jobs/${encodeURIComponent(job)}/shuffle`, signal),
  cluster: (signal?: AbortSignal) => get<Cluster>('/cluster', signal),
  tasks: (job: string, stage: number, search: URLSearchParams, signal?: AbortSignal) =>
    get<TaskPage>(`/jobs/${encodeURIComponent(job)}/stages/${stage}/tasks?${search.toString()}`, signal),
  events: (job: string, search: URLSearchParams, signal?: AbortSignal) =>
    get<EventPage>(`/jobs/${encodeURIComponent(job)}/events?${search.toString()}`, signal),
}
