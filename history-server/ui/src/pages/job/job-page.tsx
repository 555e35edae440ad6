import { useEffect } from 'react'
import { Link, useParams, useSearchParams } from 'react-router'
import { ApiError } from '../../api/client'
import { useJob } from '../../api/queries'
import type { Job } from '../../api/types'
import { Empty, Failed } from '../../components/empty'
import { Skeleton } from '../../components/skeleton'
import { stateName } from '../../components/state'
import { EventsTab } from './events-tab'
import { Header } from './header'
import { PlanTab } from './plan-tab'
import { SettingsTab } from './settings-tab'
import { ShuffleTab } from './shuffle-tab'
import { SqlTab } from './sql-tab'
import { StagesTab } from './stages-tab'
import { TimelineTab } from './timeline-tab'

const TABS = ['plan', 'timeline', 'stages', 'sql', 'shuffle', 'settings', 'events'] as const
type Tab = (typeof TABS)[number]

/** One job. Tab and stage are in the page's address, so that every view can be sent to somebody. */
export function JobPage() {
  const { job: id = '' } = useParams()
  const job = useJob(id)
  useEffect(() => {
    if (job.data) document.title = `${job.data.name} · ${stateName(job.data.state)} · Penstock`
  }, [job.data])
  if (job.data) return <Loaded job={job.data} />
  return (
    <main className="page stack">
      {job.error instanceof ApiError && job.error.status === 404 ? (
        <div className="card">
          <Empty title="There is no such job here">
            <p>
              {job.error.message}. A job appears when its coordinator writes to the event log that this server reads;
              this page looks again by itself.
            </p>
            <Link to="/">All jobs</Link>
          </Empty>
        </div>
      ) : job.error ? (
        <Failed error={job.error} />
      ) : (
        <>
          <Skeleton lines={3} height={26} />
          <div className="card card__body">
            <Skeleton lines={10} />
          </div>
        </>
      )}
    </main>
  )
}

function Loaded({ job }: { job: Job }) {
  const [params] = useSearchParams()
  const tab = parseTab(params.get('tab'), job)
  return (
    <main className="page stack job">
      <Header job={job} />
      <TabBar job={job} current={tab} />
      <section role="tabpanel" id="panel" aria-labelledby={`tab-${tab}`} className="stack">
        <Panel job={job} tab={tab} />
      </section>
    </main>
  )
}

function Panel({ job, tab }: { job: Job; tab: Tab }) {
  switch (tab) {
    case 'plan':
      return <PlanTab job={job} />
    case 'timeline':
      return <TimelineTab job={job} />
    case 'stages':
      return <StagesTab job={job} />
    case 'sql':
      return <SqlTab job={job} />
    case 'shuffle':
      return <ShuffleTab job={job} />
    case 'settings':
      return <SettingsTab job={job} />
    case 'events':
      return <EventsTab job={job} />
  }
}

function TabBar({ job, current }: { job: Job; current: Tab }) {
  const labels: Record<Tab, [string, number?]> = {
    plan: ['Plan'],
    timeline: ['Timeline'],
    stages: ['Stages', job.stages.length],
    sql: ['SQL', job.statements.length > 1 ? job.statements.length : undefined],
    shuffle: ['Shuffle', job.stages.filter((stage) => stage.exchange).length],
    settings: ['Settings'],
    events: ['Events', job.log.records],
  }
  return (
    <div
      className="tabs"
      role="tablist"
      aria-label="Views of this job"
      onKeyDown={(event) => {
        const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0
        if (step === 0) return
        const tabs = [...event.currentTarget.querySelectorAll<HTMLElement>('[role=tab]')]
        // From the tab with the focus: the page may not have followed the last key yet.
        const focused = tabs.findIndex((tab) => tab === document.activeElement)
        const next = tabs[(focused + step + tabs.length) % tabs.length]
        next?.focus()
        next?.click()
      }}
    >
      {TABS.map((tab) => {
        const [label, n] = labels[tab]
        return (
          <Link
            key={tab}
            id={`tab-${tab}`}
            role="tab"
            aria-selected={tab === current}
            aria-controls="panel"
            tabIndex={tab === current ? 0 : -1}
            className="tabs__tab"
            to={`?tab=${tab}`}
            replace
          >
            {label}
            {n !== undefined && n > 0 && <span className="tabs__count num">{n}</span>}
          </Link>
        )
      })}
    </div>
  )
}

/** Without stages, as after an error in the SQL, the script is what matters. */
function parseTab(text: string | null, job: Job): Tab {
  const fallback = job.stages.length === 0 ? 'sql' : 'plan'
  return TABS.find((tab) => tab === text) ?? fallback
}
