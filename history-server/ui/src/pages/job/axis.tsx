import { tickLabel, ticks } from '../../lib/lanes'
import type { Span } from './timeline-tab'

export function Axis({ span }: { span: Span }) {
  return (
    <div className="axis num" aria-hidden="true">
      {ticks(span.from, span.to, 8).map((mark) => (
        <span key={mark} style={{ left: `${(100 * (mark - span.from)) / (span.to - span.from)}%` }}>
          {tickLabel(mark)}
        </span>
      ))}
    </div>
  )
}
