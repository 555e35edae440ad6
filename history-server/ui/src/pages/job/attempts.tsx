import { useState } from 'react'
import { useTasks } from '../../api/queries'
import type { Attempt, Job, Stage } from '../../api/types'
import { Failed } from '../../components/empty'
import { Skeleton } from '../../components/skeleton'
import { StageChip } from '../../components/state'
import { bytes, count, duration, short } from '../../lib/format'
import './attempts.css'

const PAGE = 50

const METRICS = [
  { key: 'run_ms', label: 'Run', format: duration },
  { key: 'cpu_ms', label: 'CPU', format: duration },
  { key: 'rows_in', label: 'Rows in', format: short },
  { key: 'rows_out', label: 'Rows out', format: short },
  { key: 'shuffle_read_bytes', label: 'Fetched', format: bytes },
  { key: 'shuffle_written_bytes', label: 'Pushed', format: bytes },
  { key: 'spilled_bytes', label: 'Spilled', format: bytes },
  { key: 'memory_peak_bytes', label: 'Memory', format: bytes },
] as const

/** All attempts of a stage's tasks, sorted and paged by the server. */
export function Attempts({ job, stage }: { job: Job; stage: Stage }) {
  const [sort, setSort] = useState('task')
  const [state, setState] = useState('')
  const [page, setPage] = useState(0)
  const search = new URLSearchParams({ sort, limit: String(PAGE), offset: String(page * PAGE) })
  if (state) search.set('state', state)
  const tasks = useTasks(job.job_id, stage.stage, search, job.live)
  return (
    <section className="card" aria-label="Attempts">
      <div className="card__head">
        <h2>
          Attempts <span className="muted num">{tasks.data ? count(tasks.data.total) : ''}</span>
        </h2>
        <select
          className="field"
          aria-label="State of attempts"
          value={state}
          onChange={(event) => {
            setState(event.target.value)
            setPage(0)
          }}
        >
          <option value="">All states</option>
          {['running', 'succeeded', 'failed', 'cancelled', 'lost'].map((option) => (
            <option key={option}>{option}</option>
          ))}
        </select>
      </div>
      {tasks.error && !tasks.data ? (
        <div className="card__body">
          <Failed error={tasks.error} />
        </div>
      ) : !tasks.data ? (
        <div className="card__body">
          <Skeleton lines={6} />
        </div>
      ) : (
        <>
          <div className="table-scroll">
            <table className="table attempts" data-testid="attempts">
              <thead>
                <tr>
                  <SortHeader name="task" label="Task" sort={sort} onSort={setSort} left />
                  <th>State</th>
                  <th>Executor</th>
                  <SortHeader name="queued_ms" label="Queued" sort={sort} onSort={setSort} />
                  {METRICS.map(({ key, label }) => (
                    <SortHeader key={key} name={key} label={label} sort={sort} onSort={setSort} />
                  ))}
                </tr>
              </thead>
              <tbody>
                {tasks.data.attempts.map((attempt) => (
                  <Row key={`${attempt.task}-${attempt.attempt}`} attempt={attempt} />
                ))}
              </tbody>
            </table>
          </div>
          {tasks.data.attempts.length === 0 && <p className="card__body muted">No attempt in this state.</p>}
          <Pager total={tasks.data.total} page={page} onPage={setPage} />
        </>
      )}
    </section>
  )
}

interface SortProps {
  name: string
  label: string
  sort: string
  onSort: (name: string) => void
  left?: boolean
}

function SortHeader({ name, label, sort, onSort, left = false }: SortProps) {
  const active = sort === name
  return (
    <th className={left ? '' : 'right'} aria-sort={active ? (name === 'task' ? 'ascending' : 'descending') : 'none'}>
      <button type="button" className="sort" data-active={active} onClick={() => onSort(name)}>
        {label}
        <span aria-hidden="true">{active ? (name === 'task' ? '↑' : '↓') : ''}</span>
      </button>
    </th>
  )
}

function Row({ attempt }: { attempt: Attempt }) {
  return (
    <>
      <tr>
        <td className="num">
          {attempt.task}
          {attempt.attempt > 0 && <span className="muted"> · attempt {attempt.attempt}</span>}
        </td>
        <td>
          <StageChip state={attempt.state} />
        </td>
        <td className="truncate">{attempt.executor}</td>
        <td className="right num">{duration(attempt.queued_ms)}</td>
        {METRICS.map(({ key, format }) => {
          const value = attempt.metrics?.[key] ?? (key === 'run_ms' ? attempt.duration_ms : 0)
          return (
            <td key={key} className="right num">
              {value > 0 ? format(value) : <span className="muted">–</span>}
            </td>
          )
        })}
      </tr>
      {attempt.failure && (
        <tr className="attempts__failure">
          <td colSpan={4 + METRICS.length}>
            <span className="tag">{attempt.failure.class}</span> {attempt.failure.message}
          </td>
        </tr>
      )}
    </>
  )
}

function Pager({ total, page, onPage }: { total: number; page: number; onPage: (page: number) => void }) {
  if (total <= PAGE) return null
  return (
    <nav className="pager" aria-label="Pages of attempts">
      <span className="muted num">
        {count(page * PAGE + 1)}–{count(Math.min(total, (page + 1) * PAGE))} of {count(total)}
      </span>
      <button type="button" className="button" disabled={page === 0} onClick={() => onPage(page - 1)}>
        Previous
      </button>
      <button type="button" className="button" disabled={(page + 1) * PAGE >= total} onClick={() => onPage(page + 1)}>
        Next
      </button>
    </nav>
  )
}
