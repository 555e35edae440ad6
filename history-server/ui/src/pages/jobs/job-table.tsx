import { Link, useNavigate } from 'react-router'
import type { JobRow } from '../../api/types'
import { useNow } from '../../components/now'
import { isLive, JobChip, jobTone } from '../../components/state'
import { ago, bytes, duration, exact, short } from '../../lib/format'

export function JobTable({ jobs, onOwner }: { jobs: JobRow[]; onOwner: (owner: string) => void }) {
  const now = useNow()
  const longest = Math.max(1, ...jobs.map((job) => job.duration_ms))
  return (
    <div className="table-scroll">
      <table className="table table--hover jobs-table">
        <thead>
          <tr>
            <th>State</th>
            <th>Job</th>
            <th className="hide-narrow">Owner</th>
            <th>Submitted</th>
            <th className="jobs-table__duration">Duration</th>
            <th className="right hide-narrow">Rows</th>
            <th className="right hide-narrow">Read</th>
            <th className="right hide-narrow">Shuffled</th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <Row key={job.job_id} job={job} now={now} longest={longest} onOwner={onOwner} />
          ))}
        </tbody>
      </table>
    </div>
  )
}

interface RowProps {
  job: JobRow
  now: number
  longest: number
  onOwner: (owner: string) => void
}

function Row({ job, now, longest, onOwner }: RowProps) {
  const navigate = useNavigate()
  const href = `/jobs/${job.job_id}`
  const live = isLive(job.state)
  const length = live ? Math.max(job.duration_ms, now - Date.parse(job.submitted_at)) : job.duration_ms
  return (
    <tr
      onClick={(event) => {
        // The name is the link; the rest of the row only helps the mouse.
        if (event.target instanceof Element && event.target.closest('a, button')) return
        void navigate(href)
      }}
    >
      <td>
        <JobChip state={job.state} />
      </td>
      <td className="jobs-table__job">
        <div className="jobs-table__name">
          <Link to={href} className="truncate">
            {job.name}
          </Link>
          {job.try > 1 && <span className="tag">try {job.try}</span>}
          {job.client !== 'cli' && <span className="tag">{job.client}</span>}
        </div>
        {job.failure && job.state !== 'CANCELLED' ? (
          <div className="jobs-table__line jobs-table__line--bad truncate" title={job.failure.message}>
            {job.failure.message.split('\n', 1)[0]}
          </div>
        ) : (
          <div className="jobs-table__line mono truncate">{job.script_line}</div>
        )}
      </td>
      <td className="hide-narrow">
        {job.owner && (
          <button type="button" className="link-button" onClick={() => onOwner(job.owner ?? '')}>
            {job.owner}
          </button>
        )}
      </td>
      <td className="num muted" title={exact(job.submitted_at)}>
        {ago(job.submitted_at, now)}
      </td>
      <td>
        <div className="num">{duration(length)}</div>
        {live ? <LiveBar job={job} /> : <DurationBar share={length / longest} state={job.state} />}
      </td>
      <td className="right num hide-narrow">{job.totals.rows > 0 ? short(job.totals.rows) : '–'}</td>
      <td className="right num hide-narrow">{job.totals.scanned_bytes > 0 ? bytes(job.totals.scanned_bytes) : '–'}</td>
      <td className="right num hide-narrow">{job.totals.shuffled_bytes > 0 ? bytes(job.totals.shuffled_bytes) : '–'}</td>
    </tr>
  )
}

function DurationBar({ share, state }: { share: number; state: JobRow['state'] }) {
  const tone = jobTone(state)
  return (
    <div className="bar">
      <div
        className={`bar__fill${tone === 'ok' ? '' : ` bar__fill--${tone === 'warn' ? 'idle' : tone}`}`}
        style={{ width: `${Math.max(1.5, share * 100)}%` }}
      />
    </div>
  )
}

function LiveBar({ job }: { job: JobRow }) {
  const { tasks_total: total, tasks_finished: finished } = job.progress
  if (total === 0) return <div className="bar" />
  return (
    <div
      className="bar"
      role="progressbar"
      aria-label="Tasks finished"
      aria-valuenow={finished}
      aria-valuemin={0}
      aria-valuemax={total}
      title={`${finished} of ${total} tasks finished`}
    >
      <div className="bar__fill bar__fill--run" style={{ width: `${(100 * finished) / total}%` }} />
    </div>
  )
}
