import { useState } from 'react'
import { Link } from 'react-router'
import type { ClusterEvent } from '../../api/types'
import { useNow } from '../../components/now'
import { ago, clock, exact } from '../../lib/format'

const EVENTS_SHOWN = 10

const KINDS: Record<string, { name: string; tone: string }> = {
  executor_joined: { name: 'Joined', tone: 'quiet' },
  executor_draining: { name: 'Draining', tone: 'warn' },
  executor_lost: { name: 'Lost', tone: 'lost' },
  worker_joined: { name: 'Joined', tone: 'quiet' },
  worker_serving: { name: 'Serving', tone: 'ok' },
  worker_leaves: { name: 'Changed', tone: 'warn' },
  worker_lost: { name: 'Silent', tone: 'lost' },
  worker_gone: { name: 'Gone', tone: 'lost' },
  worker_trouble: { name: 'Trouble', tone: 'bad' },
  disk_trouble: { name: 'Disk', tone: 'bad' },
  disk_healthy: { name: 'Disk', tone: 'ok' },
  masters_silent: { name: 'Silent', tone: 'bad' },
  masters_back: { name: 'Back', tone: 'ok' },
}

export function Events({ events }: { events: ClusterEvent[] }) {
  const now = useNow()
  const [all, setAll] = useState(false)
  if (events.length === 0) return null
  return (
    <section className="card" aria-label="What happened">
      <div className="card__head">
        <h2>What happened</h2>
      </div>
      <ol className="happened" data-testid="happened">
        {(all ? events : events.slice(0, EVENTS_SHOWN)).map((event) => (
          <Happened key={`${event.at} ${event.kind} ${event.node} ${event.text}`} event={event} now={now} />
        ))}
      </ol>
      {events.length > EVENTS_SHOWN && (
        <button type="button" className="button button--quiet happened__more" onClick={() => setAll(!all)}>
          {all ? 'Show less' : `Show ${events.length - EVENTS_SHOWN} more`}
        </button>
      )}
    </section>
  )
}

function Happened({ event, now }: { event: ClusterEvent; now: number }) {
  const kind = KINDS[event.kind] ?? { name: event.kind, tone: 'quiet' }
  return (
    <li className="happened__event">
      <time className="num muted" dateTime={event.at} title={exact(event.at)}>
        {ago(event.at, now)}
      </time>
      <span className={`happened__kind happened__kind--${kind.tone}`}>{kind.name}</span>
      <span className="happened__text">
        <strong>{event.node}</strong> {event.text}
        {event.until && (
          <time className="muted" dateTime={event.until} title={exact(event.until)}>
            {' '}
            until {clock(event.until)}
          </time>
        )}
      </span>
      {event.job ? <Link to={`/jobs/${event.job}`}>Job</Link> : <span />}
    </li>
  )
}
