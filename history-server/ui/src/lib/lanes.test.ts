import { describe, expect, it } from 'vitest'
import type { Timeline } from '../api/types'
import { packLanes, tickLabel, ticks } from './lanes'

const timeline = (attempts: [executor: number, start: number, end: number][]): Timeline => ({
  origin: '2026-11-20T00:00:00Z',
  end_ms: 100,
  executors: [0, 1].map((n) => ({
    executor: `e${n}`, host: null, slots: null, joined_ms: null, lost_ms: null, lost_reason: null,
    samples: { at_ms: [], cpu_used: [], memory_used_bytes: [], memory_limit_bytes: [], scratch_used_bytes: [] },
  })),
  attempts: {
    executor: attempts.map(([executor]) => executor),
    stage: attempts.map(() => 0),
    task: attempts.map((_, task) => task),
    attempt: attempts.map(() => 0),
    queued_ms: attempts.map(() => 0),
    start_ms: attempts.map(([, start]) => start),
    end_ms: attempts.map(([, , end]) => end),
    state: attempts.map(() => 1),
    winner: attempts.map(() => true),
  },
})

describe('lanes', () => {
  it('puts attempts that overlap into different lanes and reuses free ones', () => {
    const [first] = packLanes(timeline([[0, 0, 10], [0, 5, 15], [0, 10, 20]]))
    expect(first?.lanes).toBe(2)
    expect(first?.bars.map((bar) => bar.lane)).toEqual([0, 1, 0])
  })

  it('draws a running attempt until the end', () => {
    const [, second] = packLanes(timeline([[1, 40, -1]]))
    expect(second?.bars).toEqual([{ index: 0, lane: 0, start: 40, end: 100 }])
  })

  it('gives an idle executor one empty lane', () => {
    expect(packLanes(timeline([]))[0]).toEqual({ executor: 0, lanes: 1, bars: [] })
  })
})

describe('the time axis', () => {
  it('has round marks, and not too many', () => {
    expect(ticks(0, 10_000, 6)).toEqual([0, 2000, 4000, 6000, 8000, 10_000])
    expect(ticks(130, 260, 4)).toEqual([150, 200, 250])
    expect(ticks(0, 1e9, 5).length).toBeLessThan(8)
  })

  it('is labelled in the unit that fits', () => {
    expect([0, 250, 4000, 90_000, 7_500_000].map(tickLabel)).toEqual(['0', '250 ms', '4 s', '1:30', '2:05:00'])
  })
})
