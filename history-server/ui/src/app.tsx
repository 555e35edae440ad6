import { lazy, Suspense } from 'react'
import { Link, NavLink, Route, Routes } from 'react-router'
import { Empty } from './components/empty'
import { Logo } from './components/icons'
import { Skeleton } from './components/skeleton'
import { ThemeToggle } from './components/theme'
import { ClusterPage } from './pages/cluster/cluster-page'
import { JobsPage } from './pages/jobs/jobs-page'

// The job page brings the graph library, which the list does not need.
const JobPage = lazy(() => import('./pages/job/job-page').then((module) => ({ default: module.JobPage })))

export function App() {
  return (
    <>
      <header className="topbar">
        <div className="topbar__inner">
          <Link className="brand" to="/">
            <Logo />
            <span>
              Penstock <span className="brand__sub">History</span>
            </span>
          </Link>
          <nav className="topbar__nav" aria-label="Main">
            <NavLink className="topbar__link" to="/" end>
              Jobs
            </NavLink>
            <NavLink className="topbar__link" to="/cluster">
              Cluster
            </NavLink>
          </nav>
          <a className="topbar__link" href="/api/v1/openapi.json">
            API
          </a>
          <ThemeToggle />
        </div>
      </header>
      <Routes>
        <Route path="/" element={<JobsPage />} />
        <Route path="/jobs" element={<JobsPage />} />
        <Route path="/cluster" element={<ClusterPage />} />
        <Route
          path="/jobs/:job"
          element={
            <Suspense fallback={<main className="page"><Skeleton lines={6} /></main>}>
              <JobPage />
            </Suspense>
          }
        />
        <Route path="*" element={<NotFound />} />
      </Routes>
    </>
  )
}

function NotFound() {
  return (
    <main className="page">
      <Empty title="There is no such page">
        <Link to="/">All jobs</Link>
      </Empty>
    </main>
  )
}
