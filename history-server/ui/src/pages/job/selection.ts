import { useCallback } from 'react'
import { useSearchParams } from 'react-router'
import type { Stage } from '../../api/types'

/** The stage in the page's address, if there is one, and a way to put another one there. */
export function useStageParam(): [string | null, (stage: number) => void] {
  const [params, setParams] = useSearchParams()
  const select = useCallback(
    (stage: number) => {
      setParams(
        (current) => {
          const next = new URLSearchParams(current)
          next.set('stage', String(stage))
          return next
        },
        { replace: true, preventScrollReset: true },
      )
    },
    [setParams],
  )
  return [params.get('stage'), select]
}

/** The stage in the page's address, or else the most telling one: what failed, what runs, what took longest. */
export function useSelectedStage(stages: Stage[]): [Stage | undefined, (stage: number) => void] {
  const [wanted, select] = useStageParam()
  return [stages.find((stage) => String(stage.stage) === wanted) ?? mostTelling(stages), select]
}

export function mostTelling(stages: Stage[]): Stage | undefined {
  const longest = [...stages].sort((a, b) => stageMs(b) - stageMs(a))[0]
  return (
    stages.find((stage) => stage.state === 'failed') ?? stages.find((stage) => stage.state === 'running') ?? longest
  )
}

export function stageMs(stage: Stage): number {
  if (stage.started_ms === null) return 0
  return (stage.finished_ms ?? stage.started_ms) - stage.started_ms
}

/** Largest over median run time of the stage's tasks. */
export function skewOf(stage: Stage): number {
  const run = stage.quantiles.run_ms
  return run && run.count > 1 && run.median > 0 ? run.max / run.median : 1
}
