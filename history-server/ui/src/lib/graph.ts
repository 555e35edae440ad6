// Where the stages of a job stand in the picture. Layout by ELK, in layers along the flow of data.

import type { ElkNode } from 'elkjs/lib/elk.bundled.js'
import type { Stage } from '../api/types'

export const NODE_WIDTH = 212
export const NODE_HEIGHT = 98

export interface Place {
  x: number
  y: number
}

export interface Link {
  id: string
  from: number
  to: number
  mode: string
  rows: number
  bytes: number
  committed: boolean
  critical: boolean
  /** Pixels, by the logarithm of the bytes. */
  width: number
}

export function links(stages: Stage[]): Link[] {
  const byId = new Map(stages.map((stage) => [stage.stage, stage]))
  return stages.flatMap((stage) =>
    stage.inputs
      .filter((input) => byId.has(input.stage))
      .map((input, position) => ({
        id: `${input.stage}-${stage.stage}-${position}`,
        from: input.stage,
        to: stage.stage,
        mode: input.mode,
        rows: input.rows,
        bytes: input.bytes,
        committed: input.committed,
        critical: stage.critical && byId.get(input.stage)?.critical === true,
        width: linkWidth(input.bytes),
      })),
  )
}

/** 1 px up to a KiB, about 1.2 px more for each factor of ten. */
export function linkWidth(bytes: number): number {
  return Math.min(9, 1 + 1.2 * Math.max(0, Math.log10(Math.max(1, bytes) / 1024)))
}

/** The picture only moves when stages or edges change, not when their numbers do. */
export function shapeOf(stages: Stage[]): string {
  return links(stages)
    .map((link) => link.id)
    .concat(stages.map((stage) => String(stage.stage)))
    .join(' ')
}

export async function layout(stages: Stage[], direction: 'RIGHT' | 'DOWN'): Promise<Map<number, Place>> {
  const graph: ElkNode = {
    id: 'root',
    layoutOptions: {
      'elk.algorithm': 'layered',
      'elk.direction': direction,
      'elk.layered.spacing.nodeNodeBetweenLayers': direction === 'RIGHT' ? '96' : '64',
      'elk.spacing.nodeNode': direction === 'RIGHT' ? '22' : '32',
      'elk.layered.nodePlacement.strategy': 'NETWORK_SIMPLEX',
      'elk.layered.considerModelOrder.strategy': 'NODES_AND_EDGES',
    },
    children: stages.map((stage) => ({ id: String(stage.stage), width: NODE_WIDTH, height: NODE_HEIGHT })),
    edges: links(stages).map((link) => ({ id: link.id, sources: [String(link.from)], targets: [String(link.to)] })),
  }
  // Large, and only needed for pictures.
  const { default: ELK } = await import('elkjs/lib/elk.bundled.js')
  const placed = await new ELK().layout(graph)
  return new Map((placed.children ?? []).map((node) => [Number(node.id), { x: node.x ?? 0, y: node.y ?? 0 }]))
}
