import type { ReactNode } from 'react'
import { ApiError } from '../api/client'
import { AlertIcon, DrainIcon } from './icons'

/** Nothing to show: says why, and what to do. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <DrainIcon />
      <p className="empty__title">{title}</p>
      <div className="empty__text">{children}</div>
    </div>
  )
}

export function Failed({ error }: { error: Error }) {
  const advice = error instanceof ApiError ? error.advice : null
  return (
    <div className="banner banner--bad" role="alert">
      <p className="banner__title">
        <AlertIcon /> {error.message}
      </p>
      {advice && <p className="banner__advice">{advice}</p>}
    </div>
  )
}
