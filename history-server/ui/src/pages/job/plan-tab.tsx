import { useState } from 'react'
import type { Job } from '../../api/types'
import { Empty } from '../../components/empty'
import './plan-tab.css'
import { OperatorTree } from './operator-tree'
import { useSelectedStage } from './selection'
import { StageGraph } from './stage-graph'

export function PlanTab({ job }: { job: Job }) {
  const statements = job.statements.filter((statement) => statement.stages.length > 0)
  const [selected, select] = useSelectedStage(job.stages)
  const [chosen, setChosen] = useState<number | null>(null)
  const statement = chosen ?? selected?.statement ?? statements.at(-1)?.statement
  const stages = job.stages.filter((stage) => stage.statement === statement)
  if (job.stages.length === 0) {
    return (
      <div className="card">
        <Empty title="No plan">
          {job.live
            ? 'The script is being planned; the stages appear here in a moment.'
            : 'The job ended before it had stages. Statements such as CREATE TABLE and EXPLAIN have none.'}
        </Empty>
      </div>
    )
  }
  const shown = stages.find((stage) => stage.stage === selected?.stage) ?? stages[0]
  return (
    <>
      {statements.length > 1 && (
        <div className="segmented plan__statements" role="group" aria-label="Statement">
          {statements.map((candidate) => (
            <button
              key={candidate.statement}
              type="button"
              className="segmented__option"
              aria-pressed={candidate.statement === statement}
              onClick={() => setChosen(candidate.statement)}
            >
              Statement {candidate.statement + 1}
            </button>
          ))}
        </div>
      )}
      <StageGraph stages={stages} selected={shown?.stage ?? null} onSelect={select} />
      {shown && <OperatorTree stage={shown} />}
    </>
  )
}
