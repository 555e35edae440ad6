import { Link } from 'react-router'
import type { Job, Stage } from '../../api/types'
import { stageTone } from '../../components/state'
import { duration, plural } from '../../lib/format'
import { Axis } from './axis'
import { stageColor } from './stage-color'
import type { Span } from './timeline-tab'

/** One bar for each stage: when it ran. */
export function StageBars({ job, span, endMs }: { job: Job; span: Span; endMs: number }) {
  const started = job.stages.filter((stage) => stage.started_ms !== null)
  return (
    <section className="card" aria-label="Stages over time">
      <div className="card__head">
        <h2>Stages</h2>
        <span className="muted">outlined: critical path</span>
      </div>
      <div className="gantt">
        <div className="gantt__row">
          <span />
          <Axis span={span} />
        </div>
        {started.map((stage) => (
          <Bar key={stage.stage} stage={stage} span={span} endMs={endMs} />
        ))}
      </div>
    </section>
  )
}

function Bar({ stage, span, endMs }: { stage: Stage; span: Span; endMs: number }) {
  const from = stage.started_ms ?? 0
  const to = stage.finished_ms ?? endMs
  const at = (ms: number) => (100 * (ms - span.from)) / (span.to - span.from)
  const left = Math.max(0, at(from))
  const width = Math.max(0.3, Math.min(100, at(to)) - left)
  const place = left + width < 88 ? 'after' : left > 12 ? 'before' : 'inside'
  const text = `Stage ${stage.stage}, ${stage.name}: ${duration(to - from)}, ${plural(stage.tasks, 'task')}, ${stage.state}`
  return (
    <div className="gantt__row">
      <Link className="gantt__name truncate" to={`?tab=stages&stage=${stage.stage}`} title={stage.name}>
        <span className="num muted">{stage.stage}</span> {stage.name}
      </Link>
      <div className="gantt__track">
        {at(to) >= 0 && at(from) <= 100 && (
          <div
            className={`gantt__bar gantt__bar--${stageTone(stage.state)}${stage.critical ? ' gantt__bar--critical' : ''}`}
            style={{ left: `${left}%`, width: `${width}%`, background: stageColor(stage.stage) }}
            title={text}
            role="img"
            aria-label={text}
          />
        )}
        {at(to) >= 0 && at(from) <= 100 && (
          <span
            className={`gantt__label num${place === 'inside' ? ' gantt__label--inside' : ''}`}
            style={place === 'after' ? { left: `${left + width}%` } : { right: `${100 - (place === 'before' ? left : left + width)}%` }}
          >
            {duration(to - from)}
          </span>
        )}
      </div>
    </div>
  )
}
