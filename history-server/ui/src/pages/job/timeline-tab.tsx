import { useState } from 'react'
import { useTimeline } from '../../api/queries'
import type { Job } from '../../api/types'
import { Empty, Failed } from '../../components/empty'
import { Skeleton } from '../../components/skeleton'
import { duration } from '../../lib/format'
import './gantt.css'
import { AttemptLanes } from './attempt-lanes'
import { StageBars } from './stage-bars'

/** The part of the job's time that is shown, in milliseconds from its submission. */
export interface Span {
  from: number
  to: number
}

export function TimelineTab({ job }: { job: Job }) {
  const timeline = useTimeline(job.job_id, job.live)
  const [zoom, setZoom] = useState<Span | null>(null)
  if (timeline.error && !timeline.data) return <Failed error={timeline.error} />
  if (!timeline.data) {
    return (
      <div className="card card__body">
        <Skeleton lines={10} />
      </div>
    )
  }
  if (timeline.data.attempts.stage.length === 0) {
    return (
      <div className="card">
        <Empty title="Nothing has run">{job.live ? 'Attempts appear here as they start.' : 'The job ended before a task started.'}</Empty>
      </div>
    )
  }
  const whole: Span = { from: 0, to: Math.max(1, timeline.data.end_ms) }
  const span = zoom ?? whole
  return (
    <>
      <div className="timeline__bar">
        <p className="muted">
          {zoom
            ? `${duration(zoom.to - zoom.from)} of ${duration(whole.to)}`
            : 'Drag over the lanes to look closer, click an attempt for its stage'}
        </p>
        {zoom && (
          <button type="button" className="button" onClick={() => setZoom(null)}>
            Show all
          </button>
        )}
      </div>
      <StageBars job={job} span={span} endMs={whole.to} />
      <AttemptLanes job={job} timeline={timeline.data} span={span} onZoom={setZoom} />
    </>
  )
}
