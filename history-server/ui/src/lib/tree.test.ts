import { describe, expect, it } from 'vitest'
import type { Distribution, Operator } from '../api/types'
import { misestimate, treeLines } from './tree'

const spread = (sum: number, count = 1): Distribution => ({
  count, sum, min: sum, p25: sum, median: sum, p75: sum, p95: sum, max: sum,
})

const operator = (id: number, parent: number | null, rows = 0, estimated: number | null = null): Operator => ({
  operator: id,
  parent,
  name: `op${id}`,
  detail: '',
  estimated_rows: estimated,
  rows_out: spread(rows),
  cpu_ms: spread(0),
  spilled_bytes: spread(0),
  memory_peak_bytes: spread(0),
  counters: {},
})

describe('an operator tree', () => {
  it('is listed in pre-order with its rails', () => {
    const lines = treeLines([operator(0, null), operator(1, 0), operator(2, 1), operator(3, 0)])
    expect(lines.map((line) => [line.operator.name, line.depth, line.isLast, line.rails])).toEqual([
      ['op0', 0, true, []],
      ['op1', 1, false, []],
      ['op2', 2, true, [true]],
      ['op3', 1, true, []],
    ])
  })

  it('shows operators whose parent is missing', () => {
    expect(treeLines([operator(4, 3), operator(5, 4)]).map((line) => line.depth)).toEqual([0, 1])
  })

  it('says how far an estimate was off, either way', () => {
    expect(misestimate(operator(0, null, 1000, 100))).toBe(10)
    expect(misestimate(operator(0, null, 100, 1000))).toBe(10)
    expect(misestimate(operator(0, null, 0, 0))).toBe(1)
    expect(misestimate(operator(0, null, 10))).toBeNull()
  })
})
