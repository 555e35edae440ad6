import { useState } from 'react'
import { Link } from 'react-router'
import type { Job, Statement } from '../../api/types'
import { CopyButton } from '../../components/copy'
import { Sql } from '../../components/sql'
import { Chip } from '../../components/state'
import { bytes, count, plural } from '../../lib/format'
import './sql-tab.css'

export function SqlTab({ job }: { job: Job }) {
  const parameters = Object.entries(job.parameters)
  return (
    <>
      <section className="card">
        <div className="card__head">
          <h2>Script</h2>
          <CopyButton text={job.script} label="Copy the script" />
        </div>
        <Sql text={job.script} numbered />
      </section>
      {parameters.length > 0 && (
        <section className="card">
          <div className="card__head">
            <h2>Parameters</h2>
          </div>
          <table className="table parameters">
            <tbody>
              {parameters.map(([name, value]) => (
                <tr key={name}>
                  <td className="mono">${name}</td>
                  <td className="mono">{value}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      {job.statements.map((statement) => (
        <StatementCard key={statement.statement} job={job} statement={statement} />
      ))}
    </>
  )
}

type View = 'sql' | 'logical' | 'physical'

function StatementCard({ job, statement }: { job: Job; statement: Statement }) {
  // The SQL of a script's only statement is the script, which stands above.
  const [view, setView] = useState<View>(job.statements.length === 1 && statement.physical_plan ? 'physical' : 'sql')
  const text = { sql: statement.sql, logical: statement.logical_plan, physical: statement.physical_plan }[view]
  return (
    <section className="card" aria-label={`Statement ${statement.statement + 1}`}>
      <div className="card__head">
        <div className="operators__title">
          <h2>Statement {statement.statement + 1}</h2>
          <span className="tag">{statement.kind}</span>
          <StatementState job={job} statement={statement} />
        </div>
        {statement.stages.length > 0 && (
          <Link to={`?tab=plan&stage=${statement.stages.at(-1) ?? 0}`}>{plural(statement.stages.length, 'stage')}</Link>
        )}
        <div className="segmented" role="group" aria-label="View">
          {(['sql', 'logical', 'physical'] as const).map((option) => (
            <button
              key={option}
              type="button"
              className="segmented__option"
              aria-pressed={view === option}
              onClick={() => setView(option)}
            >
              {{ sql: 'SQL', logical: 'Logical plan', physical: 'Physical plan' }[option]}
            </button>
          ))}
        </div>
      </div>
      {view === 'sql' ? (
        <Sql text={text} />
      ) : (
        <pre className="code" tabIndex={0}>
          {text || 'The log does not hold this plan.'}
        </pre>
      )}
      {statement.outputs.map((output) => (
        <p key={output.target} className="statement__output">
          Wrote {plural(output.files, 'file')}, {count(output.rows)} rows, {bytes(output.bytes)} to{' '}
          <code>{output.target}</code>
        </p>
      ))}
    </section>
  )
}

function StatementState({ job, statement }: { job: Job; statement: Statement }) {
  if (statement.finished_at) return <Chip tone="ok">Finished</Chip>
  if (job.live) return <Chip tone="run" live>Running</Chip>
  return <Chip tone="idle">Not finished</Chip>
}
