import { useEffect } from 'react'
import { useLocation } from 'react-router'
import { useCluster } from '../../api/queries'
import type { Cluster } from '../../api/types'
import { Empty, Failed } from '../../components/empty'
import { useNow } from '../../components/now'
import { Skeleton } from '../../components/skeleton'
import { ago, count, exact, plural } from '../../lib/format'
import './cluster.css'
import { Events } from './events'
import { Executors } from './executors'
import { Watch } from './watch'
import { Workers } from './workers'

/** Machines as the newest jobs and the log of the cluster tell of them: this server reads logs and asks nobody. */
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
  if (cluster.executors.length === 0 && cluster.shuffle_workers.length === 0 && cluster.events.length === 0) {
    return (
      <div className="card">
        <Empty title="No machine was seen yet">
          <p>
            This server reads event logs and asks no coordinator. Shuffle workers appear here when a coordinator has seen them,
            executors when a job has met them.
          </p>
        </Empty>
      </div>
    )
  }
  return (
    <>
      <Watch watched={cluster.watched} />
      <Executors executors={cluster.executors} target={target} />
      <Workers workers={cluster.shuffle_workers} target={target} />
      <Events events={cluster.events} />
    </>
  )
}
