// Attempts of an executor side by side: each in the first lane that is free. Pure.

import type { Timeline } from '../api/types'

export interface Bar {
  /** Position in the timeline's columns. */
  index: number
  lane: number
  start: number
  end: number
}

export interface ExecutorLanes {
  executor: number
  lanes: number
  bars: Bar[]
}

export function packLanes(timeline: Timeline): ExecutorLanes[] {
  const { attempts } = timeline
  const byExecutor: number[][] = timeline.executors.map(() => [])
  attempts.executor.forEach((executor, index) => byExecutor[executor]?.push(index))
  return byExecutor.map((indices, executor) => {
    indices.sort((a, b) => (attempts.start_ms[a] ?? 0) - (attempts.start_ms[b] ?? 0))
    const freeAt: number[] = []
    const bars = indices.map((index) => {
      const start = attempts.start_ms[index] ?? 0
      const recorded = attempts.end_ms[index] ?? -1
      const end = recorded < 0 ? timeline.end_ms : recorded
      let lane = freeAt.findIndex((free) => free <= start)
      if (lane < 0) lane = freeAt.length
      freeAt[lane] = end
      return { index, lane, start, end }
    })
    return { executor, lanes: Math.max(1, freeAt.length), bars }
  })
}

/** Round times for an axis, at most `most` of them. */
export function ticks(from: number, to: number, most: number): number[] {
  const span = Math.max(1, to - from)
  const rough = span / Math.max(1, most)
  const steps = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 43_200_000, 86_400_000,
  ]
  const step = steps.find((candidate) => candidate >= rough) ?? 86_400_000 * Math.ceil(rough / 86_400_000)
  const marks: number[] = []
  for (let mark = Math.ceil(from / step) * step; mark <= to; mark += step) marks.push(mark)
  return marks
}

/** "0", "250 ms", "4 s", "1:30", "2:05:00". */
export function tickLabel(ms: number): string {
  if (ms === 0) return '0'
  if (ms < 1000) return `${ms} ms`
  if (ms < 60_000) return `${ms / 1000} s`
  const seconds = Math.round(ms / 1000)
  const pad = (value: number) => String(value).padStart(2, '0')
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes}:${pad(seconds % 60)}`
  return `${Math.floor(minutes / 60)}:${pad(minutes % 60)}:${pad(seconds % 60)}`
}
