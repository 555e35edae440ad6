import type { ReactNode } from 'react'
import { Link } from 'react-router'
import type { Job } from '../../api/types'
import { CopyButton } from '../../components/copy'
import { AlertIcon, ExternalIcon } from '../../components/icons'
import { useNow } from '../../components/now'
import { JobChip } from '../../components/state'
import { ago, bytes, count, duration, exact, plural, short } from '../../lib/format'
import './header.css'
import { Notes } from './notes'

export function Header({ job }: { job: Job }) {
  return (
    <>
      <div className="job-head">
        <nav aria-label="Breadcrumb" className="job-head__crumbs">
          <Link to="/">Jobs</Link> <span aria-hidden="true">/</span>
        </nav>
        <div className="job-head__title">
          <h1>{job.name}</h1>
          <JobChip state={job.state} />
          {job.try > 1 && <span className="tag">try {job.try}</span>}
        </div>
        <Facts job={job} />
      </div>
      {job.state !== 'CANCELLED' && <FailureBanner job={job} />}
      {job.state === 'LOST' && <LostBanner />}
      <LogBanner job={job} />
      <Stats job={job} />
      {job.live && <LiveProgress job={job} />}
      <Notes job={job} />
    </>
  )
}

function Facts({ job }: { job: Job }) {
  const now = useNow()
  const url = typeof job.source?.url === 'string' && /^https?:/.test(job.source.url) ? job.source.url : null
  const dag = typeof job.source?.dag_id === 'string' ? job.source.dag_id : null
  const task = typeof job.source?.task_id === 'string' ? job.source.task_id : null
  return (
    <dl className="facts">
      <Fact name="Id">
        <code>{job.job_id}</code>
        <CopyButton text={job.job_id} label="Copy the job's id" />
      </Fact>
      {job.submitted_at && (
        <Fact name="Submitted">
          <span title={exact(job.submitted_at)}>{ago(job.submitted_at, now)}</span>
        </Fact>
      )}
      {job.owner && (
        <Fact name="Owner">
          <Link to={`/?owner=${encodeURIComponent(job.owner)}`}>{job.owner}</Link>
        </Fact>
      )}
      <Fact name="From">
        {url ? (
          <a href={url} target="_blank" rel="noreferrer">
            {job.client} {dag && `· ${dag}.${task ?? ''}`} <ExternalIcon />
          </a>
        ) : (
          <>{[job.client, dag && `${dag}.${task ?? ''}`].filter(Boolean).join(' · ')}</>
        )}
      </Fact>
      {job.continues && (
        <Fact name="Continues">
          <Link to={`/jobs/${job.continues}`}>
            <code>{job.continues.slice(0, 8)}…</code>
          </Link>
        </Fact>
      )}
      {Object.entries(job.labels).map(([key, value]) => (
        <Fact key={key} name={key}>
          <span className="tag">{value}</span>
        </Fact>
      ))}
      <Fact name="Build">
        <code>{job.build}</code>
      </Fact>
    </dl>
  )
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="facts__fact">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

const CLASSES: Record<string, string> = {
  USER_SQL: 'The SQL is wrong',
  USER_DATA: 'The data is wrong',
  RESOURCES: 'Resources ran out',
  INFRASTRUCTURE: 'Infrastructure failed',
  CANCELLED: 'Cancelled',
  INTERNAL: 'A bug in Penstock',
}

function FailureBanner({ job }: { job: Job }) {
  const { failure, failed_attempt: where } = job
  if (!failure) return null
  return (
    <div className="banner banner--bad" role="alert" data-testid="failure">
      <p className="banner__title">
        <AlertIcon /> {CLASSES[failure.class] ?? 'The job failed'} <span className="tag">{failure.class}</span>
        <span className="muted banner__hint">
          {failure.retry_may_help ? 'Running it again may help' : 'Running it again will not help'}
        </span>
      </p>
      <p className="banner__message">{failure.message}</p>
      {failure.advice && <p className="banner__advice">{failure.advice}</p>}
      {where && (
        <p className="muted">
          In <Link to={`?tab=stages&stage=${where.stage}`}>stage {where.stage}</Link>, task {where.task}, attempt{' '}
          {where.attempt}, on {where.executor}
        </p>
      )}
    </div>
  )
}

function LostBanner() {
  return (
    <div className="banner banner--warn" role="status" data-testid="lost">
      <p className="banner__title">
        <AlertIcon /> The coordinator of this job is gone
      </p>
      <p className="banner__advice">
        It wrote nothing for a while and never said how the job ended. Everything up to that moment is here. Submit the
        job again once a coordinator runs.
      </p>
    </div>
  )
}

function LogBanner({ job }: { job: Job }) {
  const { log } = job
  if (log.whole) return null
  const parts = [
    log.missing > 0 && `${plural(log.missing, 'record')} missing`,
    log.unknown > 0 && `${plural(log.unknown, 'record')} of a newer version`,
    log.unreadable > 0 && plural(log.unreadable, 'unreadable line'),
    ...log.cuts.map((cut) => `cut at ${cut}`),
  ].filter((part): part is string => part !== false)
  return (
    <div className="banner banner--warn" role="status" data-testid="log-damage">
      <p className="banner__title">
        <AlertIcon /> This log is not whole: numbers on this page may be too small
      </p>
      <p className="banner__advice">{parts.join(' · ')}</p>
    </div>
  )
}

function Stats({ job }: { job: Job }) {
  const now = useNow()
  const { totals } = job
  const submitted = job.submitted_at ? Date.parse(job.submitted_at) : now
  const length = job.live ? Math.max(job.duration_ms, now - submitted) : job.duration_ms
  return (
    <div className="stats">
      <Stat name="Duration" value={duration(length)} />
      <Stat name="Rows" value={totals.rows > 0 ? short(totals.rows) : '–'} title={count(totals.rows)} />
      <Stat name="Read" value={bytes(totals.scanned_bytes)} />
      <Stat name="Shuffled" value={bytes(totals.shuffled_bytes)} />
      <Stat name="Spilled" value={bytes(totals.spilled_bytes)} warn={totals.spilled_bytes > 0} />
      <Stat name="Written" value={bytes(totals.written_bytes)} />
      <Stat name="Slot time" value={duration(totals.slot_seconds * 1000)} />
    </div>
  )
}

function Stat({ name, value, title, warn = false }: { name: string; value: string; title?: string; warn?: boolean }) {
  return (
    <div className="stats__stat" title={title}>
      <div className="stats__name">{name}</div>
      <div className={`stats__value num${warn ? ' stats__value--warn' : ''}`}>{value}</div>
    </div>
  )
}

function LiveProgress({ job }: { job: Job }) {
  const { progress } = job
  const share = progress.tasks_total > 0 ? progress.tasks_finished / progress.tasks_total : 0
  return (
    <div className="live" role="status">
      <div className="bar live__bar">
        <div className="bar__fill bar__fill--run" style={{ width: `${100 * share}%` }} />
      </div>
      <span className="num">
        {progress.tasks_total === 0
          ? 'Waiting for a plan'
          : `${progress.tasks_finished} of ${progress.tasks_total} tasks, ${progress.tasks_running} running · ${progress.stages_finished} of ${progress.stages_total} stages`}
      </span>
    </div>
  )
}
