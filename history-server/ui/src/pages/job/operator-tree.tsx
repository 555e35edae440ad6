import { useState } from 'react'
import { Link } from 'react-router'
import type { Distribution, Operator, Stage } from '../../api/types'
import { ChevronIcon } from '../../components/icons'
import { StageChip } from '../../components/state'
import { bytes, count, duration, metric, metricName, percent, ratio, short } from '../../lib/format'
import { misestimate, treeLines, type TreeLine } from '../../lib/tree'
import './operator-tree.css'

/** The operators of one stage with their metrics, merged over its tasks. */
export function OperatorTree({ stage }: { stage: Stage }) {
  const lines = treeLines(stage.operators)
  const cpu = stage.operators.reduce((sum, operator) => sum + operator.cpu_ms.sum, 0)
  return (
    <section className="card" aria-label={`Operators of stage ${stage.stage}`} data-testid="operators">
      <div className="card__head">
        <div className="operators__title">
          <h2>
            Stage {stage.stage} <span className="muted">{stage.name}</span>
          </h2>
          <StageChip state={stage.state} />
        </div>
        <span className="muted num">
          writes <code>{stage.output}</code>
        </span>
        <Link to={`?tab=stages&stage=${stage.stage}`}>Tasks</Link>
      </div>
      {lines.length === 0 ? (
        <p className="card__body muted">The log says nothing about the operators of this stage.</p>
      ) : (
        <div className="table-scroll">
          <table className="table operators">
            <thead>
              <tr>
                <th>Operator</th>
                <th className="right">Rows out</th>
                <th className="right">Estimated</th>
                <th className="operators__cpu">CPU time</th>
                <th className="right">Per task: min · median · max</th>
                <th className="right">Memory</th>
                <th className="right">Spilled</th>
              </tr>
            </thead>
            <tbody>
              {lines.map((line) => (
                <Line key={`${stage.stage}-${line.operator.operator}`} line={line} cpu={cpu} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}

function Line({ line, cpu }: { line: TreeLine; cpu: number }) {
  const [open, setOpen] = useState(false)
  const { operator } = line
  const share = cpu > 0 ? operator.cpu_ms.sum / cpu : 0
  const reported = operator.rows_out.count > 0
  return (
    <>
      <tr>
        <td className="operators__operator">
          <div className="operators__line">
            <Rails line={line} />
            <button
              type="button"
              className="operators__toggle"
              aria-expanded={open}
              aria-label={`Details of ${operator.name}`}
              onClick={() => setOpen(!open)}
            >
              <ChevronIcon />
            </button>
            <div className="operators__text">
              <span className="operators__name">{operator.name}</span>
              <span className="operators__detail mono truncate" title={operator.detail}>
                {operator.detail}
              </span>
            </div>
          </div>
        </td>
        <td className="right num" title={reported ? count(operator.rows_out.sum) : undefined}>
          {reported ? short(operator.rows_out.sum) : '–'}
        </td>
        <td className="right num muted">
          <Estimate operator={operator} />
        </td>
        <td>
          <div className="operators__share">
            <span className="num">{reported ? duration(operator.cpu_ms.sum) : '–'}</span>
            <span className="num muted">{reported ? percent(share) : ''}</span>
          </div>
          <div className="bar">
            <div className="bar__fill" style={{ width: `${share * 100}%` }} />
          </div>
        </td>
        <td className="right num muted">{reported ? threeOf(operator.cpu_ms, 'cpu_ms') : '–'}</td>
        <td className="right num">
          {operator.memory_peak_bytes.max > 0 ? bytes(operator.memory_peak_bytes.max) : <span className="muted">–</span>}
        </td>
        <td className="right num">
          {operator.spilled_bytes.sum > 0 ? (
            <span className="text-warn">{bytes(operator.spilled_bytes.sum)}</span>
          ) : (
            <span className="muted">–</span>
          )}
        </td>
      </tr>
      {open && (
        <tr className="operators__more">
          <td colSpan={7}>
            <Details operator={operator} />
          </td>
        </tr>
      )}
    </>
  )
}

function Rails({ line }: { line: TreeLine }) {
  if (line.depth === 0) return null
  return (
    <span className="rails" aria-hidden="true">
      {line.rails.map((goesOn, level) => (
        <span key={level} className={goesOn ? 'rail rail--on' : 'rail'} />
      ))}
      <span className={line.isLast ? 'rail rail--end' : 'rail rail--branch'} />
    </span>
  )
}

function Estimate({ operator }: { operator: Operator }) {
  if (operator.estimated_rows === null) return '–'
  const off = misestimate(operator)
  return (
    <>
      {short(operator.estimated_rows)}
      {off !== null && off >= 2 && (
        <span className="text-warn" title="Off by this factor">
          {' '}
          {ratio(off)}
        </span>
      )}
    </>
  )
}

function Details({ operator }: { operator: Operator }) {
  const spreads: [string, Distribution][] = [
    ['rows_out', operator.rows_out],
    ['cpu_ms', operator.cpu_ms],
    ['memory_peak_bytes', operator.memory_peak_bytes],
    ['spilled_bytes', operator.spilled_bytes],
  ]
  return (
    <div className="operator-details">
      <p className="mono operator-details__detail">
        {operator.name}: {operator.detail}
      </p>
      <dl className="operator-details__list">
        {spreads
          .filter(([, spread]) => spread.max > 0)
          .map(([name, spread]) => (
            <div key={name}>
              <dt>{metricName(name)} per task, min · median · max</dt>
              <dd className="num">{threeOf(spread, name)}</dd>
            </div>
          ))}
        {Object.entries(operator.counters).map(([name, value]) => (
          <div key={name}>
            <dt>{metricName(name)}</dt>
            <dd className="num">{name.includes('time') ? duration(value / 1e6) : metric(name, value)}</dd>
          </div>
        ))}
      </dl>
    </div>
  )
}

function threeOf(spread: Distribution, name: string): string {
  if (spread.count <= 1) return metric(name, spread.max)
  return [spread.min, spread.median, spread.max].map((value) => metric(name, value)).join(' · ')
}
