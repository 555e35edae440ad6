import { keepPreviousData, useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { api, ApiError } from './client'
import type { Job } from './types'

/** How often a page looks again while something may still change. */
const LIVE_MS = 1500
const LIST_MS = 3000
const LOST_MS = 15_000

const retry = (count: number, error: Error) => !(error instanceof ApiError && error.status >= 400) && count < 2

export function useJobs(search: URLSearchParams) {
  return useQuery({
    queryKey: ['jobs', search.toString()],
    queryFn: ({ signal }) => api.jobs(search, signal),
    placeholderData: keepPreviousData,
    refetchInterval: LIST_MS,
    retry,
  })
}

export function useJob(job: string) {
  return useQuery({
    queryKey: ['job', job],
    queryFn: ({ signal }) => api.job(job, signal),
    refetchInterval: (query) => jobInterval(query.state.data),
    retry,
  })
}

/** A job that is not there yet may be about to write its first event; a LOST one may turn out to live. */
function jobInterval(job: Job | undefined): number | false {
  if (job?.state === 'LOST') return LOST_MS
  return job?.live === false ? false : LIVE_MS
}

export function useTimeline(job: string, live: boolean) {
  return useQuery({
    queryKey: ['timeline', job, live],
    queryFn: ({ signal }) => api.timeline(job, signal),
    placeholderData: keepPreviousData,
    refetchInterval: live ? LIVE_MS : false,
    retry,
  })
}

export function useShuffle(job: string, live: boolean) {
  return useQuery({
    queryKey: ['shuffle', job, live],
    queryFn: ({ signal }) => api.shuffle(job, signal),
    placeholderData: keepPreviousData,
    refetchInterval: live ? LIVE_MS : false,
    retry,
  })
}

export function useCluster() {
  return useQuery({
    queryKey: ['cluster'],
    queryFn: ({ signal }) => api.cluster(signal),
    refetchInterval: LIST_MS,
    retry,
  })
}

export function useTasks(job: string, stage: number, search: URLSearchParams, live: boolean) {
  return useQuery({
    queryKey: ['tasks', job, stage, search.toString(), live],
    queryFn: ({ signal }) => api.tasks(job, stage, search, signal),
    placeholderData: keepPreviousData,
    refetchInterval: live ? LIVE_MS : false,
    retry,
  })
}

export function useEvents(job: string, types: string[]) {
  return useInfiniteQuery({
    queryKey: ['events', job, types],
    queryFn: ({ pageParam, signal }) => {
      const search = new URLSearchParams({ from: String(pageParam), limit: '200' })
      if (types.length > 0) search.set('type', types.join(','))
      return api.events(job, search, signal)
    },
    initialPageParam: 0,
    getNextPageParam: (page) => (page.end ? undefined : page.next),
    retry,
  })
}
