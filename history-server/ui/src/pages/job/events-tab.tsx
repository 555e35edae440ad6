import { useVirtualizer } from '@tanstack/react-virtual'
import { useQueryClient } from '@tanstack/react-query'
import { useEffect, useRef, useState } from 'react'
import { useEvents } from '../../api/queries'
import type { Job, LogEvent } from '../../api/types'
import { Empty, Failed } from '../../components/empty'
import { Skeleton } from '../../components/skeleton'
import { tickLabel } from '../../lib/lanes'
import './events-tab.css'
import { describe, EVENT_TYPES } from './events'

export function EventsTab({ job }: { job: Job }) {
  const [type, setType] = useState('')
  const [open, setOpen] = useState<number | null>(null)
  const events = useEvents(job.job_id, type ? [type] : [])
  const queries = useQueryClient()
  // The log of a live job goes on: its last page is read again as its length changes.
  useEffect(() => {
    if (job.live) void queries.invalidateQueries({ queryKey: ['events', job.job_id] })
  }, [job.live, job.log.records, job.job_id, queries])
  const list = events.data?.pages.flatMap((page) => page.events) ?? []
  const origin = job.submitted_at ? Date.parse(job.submitted_at) : (list[0]?.at_ms ?? 0)
  return (
    <section className="card">
      <div className="card__head">
        <h2>Events</h2>
        <select className="field" aria-label="Type" value={type} onChange={(event) => setType(event.target.value)}>
          <option value="">All types</option>
          {EVENT_TYPES.map((known) => (
            <option key={known} value={known}>
              {known.replaceAll('_', ' ')}
            </option>
          ))}
        </select>
        <a className="button" href={`/api/v1/jobs/${job.job_id}/events?limit=2000`}>
          JSON
        </a>
      </div>
      {events.error && !events.data ? (
        <div className="card__body">
          <Failed error={events.error} />
        </div>
      ) : !events.data ? (
        <div className="card__body">
          <Skeleton lines={10} />
        </div>
      ) : list.length === 0 && !events.hasNextPage ? (
        <Empty title="No such event in this log" />
      ) : (
        <List
          events={list}
          origin={origin}
          open={open}
          onOpen={(seq) => setOpen(seq === open ? null : seq)}
          onEnd={() => {
            if (events.hasNextPage && !events.isFetchingNextPage) void events.fetchNextPage()
          }}
        />
      )}
    </section>
  )
}

interface ListProps {
  events: LogEvent[]
  origin: number
  open: number | null
  onOpen: (seq: number) => void
  onEnd: () => void
}

function List({ events, origin, open, onOpen, onEnd }: ListProps) {
  const scroller = useRef<HTMLDivElement>(null)
  // eslint-disable-next-line react-hooks/incompatible-library
  const rows = useVirtualizer({
    count: events.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => 34,
    overscan: 12,
    getItemKey: (index) => events[index]?.seq ?? index,
  })
  const items = rows.getVirtualItems()
  const last = items.at(-1)?.index ?? -1
  useEffect(() => {
    if (last >= events.length - 20) onEnd()
  }, [last, events.length, onEnd])
  return (
    <div ref={scroller} className="events" tabIndex={0}>
      <div style={{ height: rows.getTotalSize(), position: 'relative' }}>
        {items.map((item) => {
          const event = events[item.index]
          if (!event) return null
          return (
            <div
              key={item.key}
              ref={rows.measureElement}
              data-index={item.index}
              className="events__event"
              style={{ transform: `translateY(${item.start}px)` }}
            >
              <button
                type="button"
                className="events__line"
                aria-expanded={open === event.seq}
                onClick={() => onOpen(event.seq)}
              >
                <span className="num muted events__seq">{event.seq}</span>
                <span className="num muted events__at" title={new Date(event.at_ms).toISOString()}>
                  +{tickLabel(event.at_ms - origin)}
                </span>
                <span className="events__type">{event.type.replaceAll('_', ' ')}</span>
                <span className="truncate">{describe(event)}</span>
              </button>
              {open === event.seq && <pre className="code events__json">{JSON.stringify(event, null, 2)}</pre>}
            </div>
          )
        })}
      </div>
    </div>
  )
}
