// Operators of a stage as the lines of a tree. Pure.

import type { Operator } from '../api/types'

export interface TreeLine {
  operator: Operator
  depth: number
  /** For each level above: whether a line goes on there to a later sibling. */
  rails: boolean[]
  isLast: boolean
}

export function treeLines(operators: Operator[]): TreeLine[] {
  const children = new Map<number | null, Operator[]>()
  const known = new Set(operators.map((operator) => operator.operator))
  for (const operator of operators) {
    // A parent that is missing from the log does not hide its children.
    const parent = operator.parent !== null && known.has(operator.parent) ? operator.parent : null
    children.set(parent, [...(children.get(parent) ?? []), operator])
  }
  const lines: TreeLine[] = []
  const visit = (parent: number | null, depth: number, rails: boolean[]) => {
    const siblings = children.get(parent) ?? []
    siblings.forEach((operator, position) => {
      const isLast = position === siblings.length - 1
      lines.push({ operator, depth, rails, isLast })
      visit(operator.operator, depth + 1, depth === 0 ? [] : [...rails, !isLast])
    })
  }
  visit(null, 0, [])
  return lines
}

/** How far an estimate was off, as a factor of at least 1; nothing without estimate or rows. */
export function misestimate(operator: Operator): number | null {
  const estimated = operator.estimated_rows
  if (estimated === null || operator.rows_out.count === 0) return null
  const low = Math.max(1, Math.min(estimated, operator.rows_out.sum))
  return Math.max(1, Math.max(estimated, operator.rows_out.sum) / low)
}
