import type { Distribution, Stage } from '../../api/types'
import { metric, metricName, plural, ratio } from '../../lib/format'
import './quantiles.css'

const ORDER = [
  'run_ms',
  'cpu_ms',
  'queued_ms',
  'rows_in',
  'rows_out',
  'scanned_bytes',
  'shuffle_read_bytes',
  'shuffle_written_bytes',
  'shuffle_read_wait_ms',
  'shuffle_write_wait_ms',
  'spilled_bytes',
  'memory_peak_bytes',
]

/** How a stage's metrics are spread over its tasks. */
export function Quantiles({ stage }: { stage: Stage }) {
  const rows = ORDER.flatMap((name) => {
    const spread = stage.quantiles[name]
    return spread && spread.max > 0 ? [{ name, spread }] : []
  })
  return (
    <section className="card" aria-label="Quantiles">
      <div className="card__head">
        <h2>
          Stage {stage.stage} <span className="muted">{stage.name}</span>
        </h2>
        <span className="muted">over {plural(stage.quantiles.run_ms?.count ?? 0, 'finished task')}</span>
      </div>
      {rows.length === 0 ? (
        <p className="card__body muted">No task of this stage has finished yet.</p>
      ) : (
        <div className="table-scroll">
          <table className="table quantiles">
            <thead>
              <tr>
                <th>Metric</th>
                <th className="quantiles__plot">Spread</th>
                {['Min', '25 %', 'Median', '75 %', '95 %', 'Max'].map((name) => (
                  <th key={name} className="right">
                    {name}
                  </th>
                ))}
                <th className="right">Max / median</th>
                <th className="right">Sum</th>
              </tr>
            </thead>
            <tbody>
              {rows.map(({ name, spread }) => (
                <Row key={name} name={name} spread={spread} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}

function Row({ name, spread }: { name: string; spread: Distribution }) {
  const skew = spread.count > 1 && spread.median > 0 ? spread.max / spread.median : null
  // A sum of peaks says nothing: tasks do not peak together.
  const isPeak = name === 'memory_peak_bytes'
  return (
    <tr>
      <td>{metricName(name)}</td>
      <td>
        <BoxPlot spread={spread} />
      </td>
      {[spread.min, spread.p25, spread.median, spread.p75, spread.p95, spread.max].map((value, position) => (
        <td key={position} className="right num">
          {metric(name, value)}
        </td>
      ))}
      <td className="right num">
        {skew === null ? <span className="muted">–</span> : <span className={skew >= 3 ? 'text-warn' : ''}>{ratio(skew)}</span>}
      </td>
      <td className="right num muted">{isPeak ? '–' : metric(name, spread.sum)}</td>
    </tr>
  )
}

/** From zero to the maximum: a line from least to most, a box for the middle half, a mark at the median. */
function BoxPlot({ spread }: { spread: Distribution }) {
  const at = (value: number) => (spread.max > 0 ? (100 * value) / spread.max : 0)
  return (
    <svg className="boxplot" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">
      <line className="boxplot__line" x1={at(spread.min)} x2={at(spread.max)} y1="6" y2="6" />
      <rect className="boxplot__box" x={at(spread.p25)} width={Math.max(1, at(spread.p75) - at(spread.p25))} y="2.500" height="7" />
      <line className="boxplot__median" x1={at(spread.median)} x2={at(spread.median)} y1="1" y2="11" />
    </svg>
  )
}
