import { useState } from 'react'
import { Link } from 'react-router'
import type { Job } from '../../api/types'
import './notes.css'

const SHOWN = 4

const LABELS: Record<string, string> = {
  skew: 'Skew',
  spill: 'Spill',
  retries: 'Retries',
  rerun: 'Run again',
  executor_lost: 'Lost executor',
  warning: 'Warning',
  samples_dropped: 'Log',
}

/** What stands out, in words. */
export function Notes({ job }: { job: Job }) {
  const [all, setAll] = useState(false)
  if (job.notes.length === 0) return null
  const notes = all ? job.notes : job.notes.slice(0, SHOWN)
  return (
    <section className="card notes" aria-label="What stands out">
      <ul>
        {notes.map((note, position) => (
          <li key={position} className="notes__note">
            <span className={`notes__kind notes__kind--${note.kind}`}>{LABELS[note.kind] ?? note.kind}</span>
            <span>{note.text}</span>
            {note.stage !== null && (
              <Link className="notes__link" to={`?tab=stages&stage=${note.stage}`}>
                Stage {note.stage}
              </Link>
            )}
          </li>
        ))}
      </ul>
      {job.notes.length > SHOWN && (
        <button type="button" className="button button--quiet" onClick={() => setAll(!all)}>
          {all ? 'Show less' : `Show ${job.notes.length - SHOWN} more`}
        </button>
      )}
    </section>
  )
}
