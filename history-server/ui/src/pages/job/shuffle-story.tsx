import type { Moment } from '../../api/types'
import { duration } from '../../lib/format'
import './shuffle-story.css'

const LABELS: Record<string, string> = {
  lost: 'Lost',
  rerun: 'Run again',
  moved: 'Moved',
  failed_copies: 'Copy lost',
}

/** Losses and what followed, a sentence each. */
export function ShuffleStory({ story }: { story: Moment[] }) {
  if (story.length === 0) return null
  return (
    <section className="card story" aria-label="What went wrong" data-testid="story">
      <ol>
        {story.map((moment, position) => (
          <li key={position} className="story__moment">
            <span className="story__at num muted" title={moment.at}>
              {duration(moment.at_ms)}
            </span>
            <span className={`story__kind story__kind--${moment.kind}`}>{LABELS[moment.kind] ?? moment.kind}</span>
            <span>{moment.text}</span>
          </li>
        ))}
      </ol>
    </section>
  )
}
