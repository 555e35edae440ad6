import { describe, expect, it } from 'vitest'
import type { Stage } from '../api/types'
import { layout, links, linkWidth, shapeOf } from './graph'

const stage = (id: number, inputs: number[], critical = false) =>
  ({
    stage: id,
    critical,
    inputs: inputs.map((input) => ({ stage: input, mode: 'partitioned', rows: 10, bytes: 4096, committed: true })),
  }) as unknown as Stage

describe('the stage graph', () => {
  const stages = [stage(0, [], true), stage(1, []), stage(2, [0, 1], true)]

  it('has one edge for each input, and marks the critical ones', () => {
    expect(links(stages).map((link) => [link.from, link.to, link.critical])).toEqual([
      [0, 2, true],
      [1, 2, false],
    ])
  })

  it('leaves out inputs that the log does not know', () => {
    expect(links([stage(3, [9])])).toEqual([])
  })

  it('flows from left to right', async () => {
    const places = await layout(stages, 'RIGHT')
    const x = (id: number) => places.get(id)?.x ?? Number.NaN
    expect(x(0)).toBeLessThan(x(2))
    expect(x(1)).toBe(x(0))
  })

  it('keeps its shape while numbers change', () => {
    const grown = structuredClone(stages)
    const edge = grown[2]?.inputs[0]
    if (edge) edge.bytes = 1e9
    expect(shapeOf(grown)).toBe(shapeOf(stages))
    expect(shapeOf([...stages, stage(3, [2])])).not.toBe(shapeOf(stages))
  })

  it('draws more bytes wider, within bounds', () => {
    expect(linkWidth(0)).toBe(1)
    expect(linkWidth(1 << 20)).toBeGreaterThan(linkWidth(1 << 12))
    expect(linkWidth(1e15)).toBe(9)
  })
})
