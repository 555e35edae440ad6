import { Link } from 'react-router'
import type { Standing, WorkerSeen } from '../../api/types'
import { Dash } from '../../components/dash'
import { useNow } from '../../components/now'
import { Chip } from '../../components/state'
import { ago, bytes, clock, count, exact, plural, short } from '../../lib/format'
import { Disks } from './disks'
import { millis, share, STANDINGS, WORKER_STATES } from './states'

export function Workers({ workers, target }: { workers: WorkerSeen[]; target: string }) {
  const now = useNow()
  return (
    <section className="card" aria-label="Shuffle workers">
      <div className="card__head">
        <h2>Shuffle workers</h2>
        <span className="muted">{plural(workers.length, 'worker')}</span>
      </div>
      {workers.length === 0 ? (
        <p className="card__body muted">No shuffle worker was seen, and no job that was read exchanged anything.</p>
      ) : (
        <div className="table-scroll">
          <table className="table" data-testid="shuffle-workers">
            <thead>
              <tr>
                <th>Worker</th>
                <th>State</th>
                <th>Last heard</th>
                <th className="cluster__load">Memory</th>
                <th>Disks</th>
                <th className="right hide-narrow" title="Moving averages: to a disk, and to a reader">
                  Time per MiB
                </th>
                <th className="right">Holds</th>
                <th className="right hide-narrow">Exchanges</th>
                <th className="right hide-narrow">Stored</th>
                <th className="right hide-narrow">Jobs</th>
              </tr>
            </thead>
            <tbody>
              {workers.map((worker) => (
                <Row key={worker.worker} worker={worker} now={now} isTarget={worker.worker === target} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}

function Row({ worker, now, isTarget }: { worker: WorkerSeen; now: number; isTarget: boolean }) {
  const { standing } = worker
  return (
    <tr id={worker.worker} aria-selected={isTarget}>
      <td>
        <span className="cluster__node">{worker.worker}</span>
        {worker.address && <div className="muted mono cluster__host">{worker.address}</div>}
        {standing && <Place standing={standing} />}
      </td>
      <td>
        <State worker={worker} now={now} />
      </td>
      <td className="cluster__seen">
        <Heard worker={worker} now={now} />
      </td>
      <td className="cluster__load">{standing ? <Memory standing={standing} /> : <Dash />}</td>
      <td className="cluster__disks">{standing ? <Disks disks={standing.disks} /> : <Dash />}</td>
      <td className="right num hide-narrow">{standing ? <Pace standing={standing} /> : <Dash />}</td>
      <td className="right num">
        {standing ? (
          <span title={`${count(standing.open_locations)} of them take data now`}>
            {short(standing.locations)}
            <div className="muted cluster__host">{plural(standing.jobs, 'job')}</div>
          </span>
        ) : (
          <Dash />
        )}
      </td>
      <td className="right num hide-narrow">{worker.exchanges > 0 ? count(worker.exchanges) : <Dash />}</td>
      <td className="right num hide-narrow">{worker.stored_bytes > 0 ? bytes(worker.stored_bytes) : <Dash />}</td>
      <td className="right num hide-narrow">{worker.jobs > 0 ? count(worker.jobs) : <Dash />}</td>
    </tr>
  )
}

function Place({ standing }: { standing: Standing }) {
  const place = [standing.zone, standing.rack].filter(Boolean).join(' / ')
  if (!place && standing.tags.length === 0) return null
  return (
    <div className="cluster__place">
      {place && <span className="muted">{place}</span>}
      {standing.tags.map((tag) => (
        <span key={tag} className="tag">
          {tag}
        </span>
      ))}
    </div>
  )
}

/** The master's word if there is one; below it what a job had to suffer. */
function State({ worker, now }: { worker: WorkerSeen; now: number }) {
  const { standing, trouble } = worker
  const word = standing ? standing.state : worker.state
  const state = (standing ? STANDINGS : WORKER_STATES)[word] ?? { tone: 'idle' as const, name: word }
  return (
    <>
      <Chip tone={state.tone} live={!standing && word === 'holds_data'}>
        {state.name}
      </Chip>
      {standing?.until && (
        <div className="muted cluster__reason" title={exact(standing.until)}>
          {standing.state === 'leaving' ? 'goes at ' : 'until '}
          {clock(standing.until)}
        </div>
      )}
      {standing?.because && <div className="muted cluster__reason">{standing.because}</div>}
      {trouble && (
        <div className="cluster__reason">
          <span className="text-bad">{trouble.text}</span>{' '}
          <Link to={`/jobs/${trouble.job}?tab=shuffle`} title={exact(trouble.at)}>
            {ago(trouble.at, now)}
          </Link>
        </div>
      )}
    </>
  )
}

function Heard({ worker, now }: { worker: WorkerSeen; now: number }) {
  const { standing, last_seen, last_job } = worker
  return (
    <>
      {standing && (
        <time dateTime={standing.heard_at} title={exact(standing.heard_at)}>
          {ago(standing.heard_at, now)}
        </time>
      )}
      {last_seen && last_job && (
        <div className={standing ? 'cluster__host' : undefined}>
          <Link to={`/jobs/${last_job}?tab=shuffle`} title={exact(last_seen)}>
            {standing ? `a job ${ago(last_seen, now)}` : ago(last_seen, now)}
          </Link>
        </div>
      )}
    </>
  )
}

/** Which worker is slow. */
function Pace({ standing }: { standing: Standing }) {
  const { flush_us_per_mib: flush, fetch_us_per_mib: fetch } = standing
  if (flush === 0 && fetch === 0) return <Dash />
  return (
    <>
      {flush > 0 && <div>{millis(flush)} write</div>}
      {fetch > 0 && <div className="muted">{millis(fetch)} read</div>}
    </>
  )
}

function Memory({ standing }: { standing: Standing }) {
  const { memory_used_bytes: used, memory_limit_bytes: limit, paused } = standing
  return (
    <div className="share" title={`${bytes(used)} of ${bytes(limit)}${paused ? ': pushes wait' : ''}`}>
      <div className="bar">
        <div className={`bar__fill${paused ? ' bar__fill--bad' : ''}`} style={{ width: `${100 * share(used, limit)}%` }} />
      </div>
      <span className="num">{paused ? <span className="text-bad">paused</span> : bytes(used)}</span>
    </div>
  )
}
