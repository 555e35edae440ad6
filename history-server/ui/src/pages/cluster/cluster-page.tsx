import { useEffect, useState } from 'react'
import { Link, useLocation } from 'react-router'
import { useCluster } from '../../api/queries'
import type { Cluster } from '../../api/types'
import { Empty, Failed } from '../../components/empty'
import { useNow } from '../../components/now'
import { Skeleton } from '../../components/skeleton'
import { ago, count, exact, plural } from '../../lib/format'
import './cluster.css'
import { Executors } from './executors'
import { Workers } from './workers'

/** Machines as the newest jobs saw them: this server reads logs and asks nobody. */
export function ClusterPage() {
  const cluster = useCluster()
  const { hash } = useLocation()
  useEffect(() => {
    document.title = 'Cluster · Penstock'
  }, [])
  const isLoaded = cluster.data !== undefined
  useEffect(() => {
    // The row does not exist yet when the browser looks for it.
    if (isLoaded && hash) document.getElementById(decodeURIComponent(hash.slice(1)))?.scrollIntoView({ block: 'center' })
  }, [isLoaded, hash])
  return (
    <main className="page stack">
      <div className="cluster__title">
        <h1>Cluster</h1>
        {cluster.data && <Source cluster={cluster.data} />}
      </div>
      {cluster.data ? (
        <Loaded cluster={cluster.data} target={decodeURIComponent(hash.slice(1))} />
      ) : cluster.error ? (
        <Failed error={cluster.error} />
      ) : (
        <div className="card card__body">
          <Skeleton lines={7} height={26} />
        </div>
      )}
    </main>
  )
}

/** How old and how complete this is. */
function Source({ cluster }: { cluster: Cluster }) {
  const now = useNow()
  if (!cluster.until || !cluster.since) return null
  const left = cluster.jobs_total - cluster.jobs_read
  return (
    <p className="muted" data-testid="source">
      As {cluster.jobs_read === 1 ? 'one job' : `the ${count(cluster.jobs_read)} newest jobs`} saw it
      {left > 0 && ` (of ${count(cluster.jobs_total)})`}, last{' '}
      <time dateTime={cluster.until} title={exact(cluster.until)}>
        {ago(cluster.until, now)}
      </time>
      {cluster.jobs_live > 0 ? `; ${plural(cluster.jobs_live, 'job')} running` : '; no job runs'}
      {cluster.jobs_skipped > 0 && `; ${plural(cluster.jobs_skipped, 'long log')} not read`}.
    </p>
  )
}

function Loaded({ cluster, target }: { cluster: Cluster; target: string }) {
  if (cluster.executors.length === 0 && cluster.shuffle_workers.length === 0) {
    return (
      <div className="card">
        <Empty title="No machine was seen yet">
          <p>
            This server reads event logs and asks no coordinator. Machines appear here when a job has met them.
          </p>
        </Empty>
      </div>
    )
  }
  return (
    <>
      <p className="hint">
        This page is made from event logs alone. It knows a machine from the jobs that met it, and says when that was; whether
        an idle machine is up now, the coordinator and the shuffle master know.
      </p>
      <Executors executors={cluster.executors} target={target} />
      <Workers workers={cluster.shuffle_workers} target={target} />
      <Events cluster={cluster} />
    </>
  )
}

const EVENTS_SHOWN = 10

const KINDS: Record<string, string> = {
  executor_joined: 'Joined',
  executor_draining: 'Draining',
  executor_lost: 'Lost',
  worker_trouble: 'Trouble',
}

function Events({ cluster }: { cluster: Cluster }) {
  const now = useNow()
  const [all, setAll] = useState(false)
  if (cluster.events.length === 0) return null
  const events = all ? cluster.events : cluster.events.slice(0, EVENTS_SHOWN)
  return (
    <section className="card" aria-label="What happened">
      <div className="card__head">
        <h2>What happened</h2>
      </div>
      <ol className="happened" data-testid="happened">
        {events.map((event) => (
          <li key={`${event.at} ${event.kind} ${event.node}`} className="happened__event">
            <time className="num muted" dateTime={event.at} title={exact(event.at)}>
              {ago(event.at, now)}
            </time>
            <span className={`happened__kind happened__kind--${event.kind}`}>{KINDS[event.kind] ?? event.kind}</span>
            <span>
              <strong>{event.node}</strong> {event.text}
            </span>
            <Link to={`/jobs/${event.job}`}>Job</Link>
          </li>
        ))}
      </ol>
      {cluster.events.length > EVENTS_SHOWN && (
        <button type="button" className="button button--quiet happened__more" onClick={() => setAll(!all)}>
          {all ? 'Show less' : `Show ${cluster.events.length - EVENTS_SHOWN} more`}
        </button>
      )}
    </section>
  )
}
