import { Link } from 'react-router'
import type { WorkerSeen } from '../../api/types'
import { Dash } from '../../components/dash'
import { useNow } from '../../components/now'
import { Chip } from '../../components/state'
import { ago, bytes, count, exact, plural, short } from '../../lib/format'
import { WORKER_STATES } from './states'

export function Workers({ workers, target }: { workers: WorkerSeen[]; target: string }) {
  const now = useNow()
  return (
    <section className="card" aria-label="Shuffle workers">
      <div className="card__head">
        <h2>Shuffle workers</h2>
        <span className="muted">{plural(workers.length, 'worker')}</span>
      </div>
      {workers.length === 0 ? (
        <p className="card__body muted">No job that was read exchanged anything.</p>
      ) : (
        <div className="table-scroll">
          <table className="table" data-testid="shuffle-workers">
            <thead>
              <tr>
                <th>Worker</th>
                <th>State</th>
                <th>Last seen</th>
                <th className="right">Exchanges</th>
                <th className="right">Stored</th>
                <th className="right hide-narrow">Locations</th>
                <th className="right hide-narrow">Jobs</th>
                <th>Trouble</th>
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
  const state = WORKER_STATES[worker.state] ?? { tone: 'idle', name: worker.state }
  return (
    <tr id={worker.worker} aria-selected={isTarget}>
      <td>
        <span className="cluster__node">{worker.worker}</span>
        {worker.address && <div className="muted mono cluster__host">{worker.address}</div>}
      </td>
      <td>
        <Chip tone={state.tone} live={worker.state === 'holds_data'}>
          {state.name}
        </Chip>
      </td>
      <td className="cluster__seen">
        <Link to={`/jobs/${worker.last_job}?tab=shuffle`} title={exact(worker.last_seen)}>
          {ago(worker.last_seen, now)}
        </Link>
      </td>
      <td className="right num">{count(worker.exchanges)}</td>
      <td className="right num">{worker.stored_bytes > 0 ? bytes(worker.stored_bytes) : <Dash />}</td>
      <td className="right num hide-narrow">{short(worker.locations)}</td>
      <td className="right num hide-narrow">{count(worker.jobs)}</td>
      <td>
        {worker.trouble ? (
          <>
            <span>{worker.trouble.text}</span>{' '}
            <Link to={`/jobs/${worker.trouble.job}?tab=shuffle`} title={exact(worker.trouble.at)}>
              {ago(worker.trouble.at, now)}
            </Link>
          </>
        ) : (
          <Dash />
        )}
      </td>
    </tr>
  )
}
