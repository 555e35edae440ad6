import { useEffect } from 'react'
import { useSearchParams } from 'react-router'
import { useJobs } from '../../api/queries'
import { Empty, Failed } from '../../components/empty'
import { AlertIcon } from '../../components/icons'
import { Skeleton } from '../../components/skeleton'
import { count, plural } from '../../lib/format'
import { Filters } from './filters'
import { JobTable } from './job-table'
import './jobs.css'
import { apiParams, isFiltered, PAGE_SIZE, parseSearch, searchParams, type Search } from './search'

/** All jobs, live and finished. The search is the page's address. */
export function JobsPage() {
  const [params, setParams] = useSearchParams()
  const search = parseSearch(params)
  const setSearch = (change: Partial<Search>) => {
    setParams(searchParams({ ...search, page: 1, ...change }), { replace: !('page' in change) })
  }
  const jobs = useJobs(apiParams(search))
  useEffect(() => {
    document.title = 'Jobs · Penstock'
  }, [])
  return (
    <main className="page stack">
      <div className="jobs__title">
        <h1>Jobs</h1>
        {jobs.data && (
          <p className="muted">
            {plural(jobs.data.indexed, 'job')} in <code>{jobs.data.store}</code>
          </p>
        )}
      </div>
      {jobs.data?.store_error && (
        <div className="banner banner--warn" role="status">
          <p className="banner__title">
            <AlertIcon /> The store cannot be read right now; this list may be old
          </p>
          <p className="banner__message">{jobs.data.store_error}</p>
        </div>
      )}
      <Filters search={search} byState={jobs.data?.by_state ?? {}} onChange={setSearch} />
      {content()}
    </main>
  )

  function content() {
    if (jobs.error && !jobs.data) return <Failed error={jobs.error} />
    if (!jobs.data) {
      return (
        <div className="card card__body">
          <Skeleton lines={9} height={30} />
        </div>
      )
    }
    if (jobs.data.jobs.length === 0) {
      return (
        <div className="card">
          {isFiltered(search) ? (
            <Empty title="No job matches this search">
              <button
                type="button"
                className="button"
                onClick={() => setSearch({ q: '', states: [], since: '', owner: '' })}
              >
                Clear the search
              </button>
            </Empty>
          ) : (
            <Empty title="No job has run yet">
              Jobs appear here a moment after they are submitted. Try{' '}
              <code>penstock run -e &quot;select 1&quot;</code>.
            </Empty>
          )}
        </div>
      )
    }
    return (
      <div className="card">
        <JobTable jobs={jobs.data.jobs} onOwner={(owner) => setSearch({ owner })} />
        <Pager total={jobs.data.total} page={search.page} onPage={(page) => setSearch({ page })} />
      </div>
    )
  }
}

function Pager({ total, page, onPage }: { total: number; page: number; onPage: (page: number) => void }) {
  if (total <= PAGE_SIZE && page === 1) return null
  const first = (page - 1) * PAGE_SIZE
  const last = Math.min(first + PAGE_SIZE, total)
  return (
    <nav className="pager" aria-label="Pages">
      <span className="muted num">
        {count(first + 1)}–{count(last)} of {count(total)}
      </span>
      <button type="button" className="button" disabled={page === 1} onClick={() => onPage(page - 1)}>
        Previous
      </button>
      <button type="button" className="button" disabled={last >= total} onClick={() => onPage(page + 1)}>
        Next
      </button>
    </nav>
  )
}
