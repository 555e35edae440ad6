import { Link } from 'react-router'
import type { ExecutorSeen } from '../../api/types'
import { Dash } from '../../components/dash'
import { useNow } from '../../components/now'
import { Chip } from '../../components/state'
import { ago, bytes, count, duration, exact, plural } from '../../lib/format'
import { EXECUTOR_STATES, share } from './states'

export function Executors({ executors, target }: { executors: ExecutorSeen[]; target: string }) {
  const now = useNow()
  const slots = executors.reduce((sum, executor) => sum + (executor.slots ?? 0), 0)
  return (
    <section className="card" aria-label="Executors">
      <div className="card__head">
        <h2>Executors</h2>
        <span className="muted">
          {plural(executors.length, 'executor')}, {plural(slots, 'slot')}
        </span>
      </div>
      <div className="table-scroll">
        <table className="table" data-testid="executors">
          <thead>
            <tr>
              <th>Executor</th>
              <th>State</th>
              <th>Last seen</th>
              <th className="right">Running</th>
              <th className="cluster__load">CPU</th>
              <th className="cluster__load">Memory</th>
              <th className="right hide-narrow">Jobs</th>
              <th className="right hide-narrow">Attempts</th>
              <th className="right hide-narrow">Run time</th>
            </tr>
          </thead>
          <tbody>
            {executors.map((executor) => (
              <Row key={executor.executor} executor={executor} now={now} isTarget={executor.executor === target} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  )
}

function Row({ executor, now, isTarget }: { executor: ExecutorSeen; now: number; isTarget: boolean }) {
  const state = EXECUTOR_STATES[executor.state] ?? { tone: 'idle', name: executor.state }
  const { load } = executor
  return (
    <tr id={executor.executor} aria-selected={isTarget}>
      <td>
        <span className="cluster__node">{executor.executor}</span>
        {executor.host && <div className="muted mono cluster__host">{executor.host}</div>}
      </td>
      <td>
        <Chip tone={state.tone} live={executor.state === 'in_use'}>
          {state.name}
        </Chip>
        {executor.state === 'lost' && executor.lost_reason && (
          <div className="text-bad cluster__reason">{executor.lost_reason}</div>
        )}
      </td>
      <td className="cluster__seen">
        <Link to={`/jobs/${executor.last_job}?tab=timeline`} title={exact(executor.last_seen)}>
          {ago(executor.last_seen, now)}
        </Link>
      </td>
      <td className="right num">
        {executor.running > 0 || executor.slots !== null ? (
          <>
            {count(executor.running)}
            {executor.slots !== null && <span className="muted"> / {count(executor.slots)}</span>}
          </>
        ) : (
          <Dash />
        )}
      </td>
      <td className="cluster__load num">
        {load ? <span title={`Sampled ${ago(load.at, now)}`}>{load.cpu_used.toFixed(1)} cores</span> : <Dash />}
      </td>
      <td className="cluster__load">
        {load ? (
          <div className="share" title={`Sampled ${ago(load.at, now)}`}>
            <div className="bar">
              <div
                className="bar__fill"
                style={{ width: `${100 * share(load.memory_used_bytes, load.memory_limit_bytes)}%` }}
              />
            </div>
            <span className="num">{bytes(load.memory_used_bytes)}</span>
          </div>
        ) : (
          <Dash />
        )}
      </td>
      <td className="right num hide-narrow">{count(executor.jobs)}</td>
      <td className="right num hide-narrow">
        {count(executor.attempts)}
        {executor.attempts_failed > 0 && (
          <div className="text-warn cluster__host">{count(executor.attempts_failed)} without a result</div>
        )}
      </td>
      <td className="right num hide-narrow">{executor.run_ms > 0 ? duration(executor.run_ms) : <Dash />}</td>
    </tr>
  )
}
