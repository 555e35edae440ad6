import { useEffect, useMemo, useRef, useState, type PointerEvent } from 'react'
import { useNavigate } from 'react-router'
import type { Job, Timeline } from '../../api/types'
import { duration, plural } from '../../lib/format'
import { packLanes, type Bar, type ExecutorLanes } from '../../lib/lanes'
import './attempt-lanes.css'
import { Axis } from './axis'
import { stageColor } from './stage-color'
import type { Span } from './timeline-tab'

const LANE = 13
const GAP = 2
const STATES = ['running', 'succeeded', 'failed', 'cancelled', 'lost', 'other']

interface Props {
  job: Job
  timeline: Timeline
  span: Span
  onZoom: (span: Span) => void
}

/** The attempts of each executor, side by side. Canvas, so that 100,000 of them stay fluent. */
export function AttemptLanes({ job, timeline, span, onZoom }: Props) {
  const executors = useMemo(() => packLanes(timeline), [timeline])
  return (
    <section className="card" aria-label="Attempts by executor">
      <div className="card__head">
        <h2>Attempts by executor</h2>
        <ul className="lanes__legend">
          <li>
            <span className="lanes__key lanes__key--queued" /> queued
          </li>
          <li>
            <span className="lanes__key lanes__key--failed" /> failed or lost
          </li>
          <li className="muted">colour: stage</li>
        </ul>
      </div>
      <div className="gantt">
        <div className="gantt__row">
          <span />
          <Axis span={span} />
        </div>
        {executors.map((lanes) => (
          <Executor key={lanes.executor} job={job} timeline={timeline} lanes={lanes} span={span} onZoom={onZoom} />
        ))}
      </div>
    </section>
  )
}

function Executor({ job, timeline, lanes, span, onZoom }: Props & { lanes: ExecutorLanes }) {
  const executor = timeline.executors[lanes.executor]
  if (!executor) return null
  return (
    <div className="gantt__row gantt__row--lanes">
      <div className="gantt__executor">
        <span className="truncate">{executor.executor}</span>
        <span className="muted truncate">
          {executor.lost_ms !== null ? (
            <span className="text-bad" title={executor.lost_reason ?? ''}>
              lost after {duration(executor.lost_ms)}
            </span>
          ) : (
            [executor.host, executor.slots && plural(executor.slots, 'slot')].filter(Boolean).join(' · ')
          )}
        </span>
      </div>
      <Lanes job={job} timeline={timeline} lanes={lanes} span={span} onZoom={onZoom} />
    </div>
  )
}

function Lanes({ job, timeline, lanes, span, onZoom }: Props & { lanes: ExecutorLanes }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [hover, setHover] = useState<{ bar: Bar; x: number; y: number } | null>(null)
  const [drag, setDrag] = useState<{ from: number; to: number } | null>(null)
  const navigate = useNavigate()
  const height = lanes.lanes * (LANE + GAP) + GAP
  const lostMs = timeline.executors[lanes.executor]?.lost_ms ?? null

  useEffect(() => {
    const element = canvas.current
    if (!element) return
    const repaint = () => paint(element, timeline, lanes, span, lostMs)
    repaint()
    const resized = new ResizeObserver(repaint)
    resized.observe(element)
    const themed = new MutationObserver(repaint)
    themed.observe(document.documentElement, { attributeFilter: ['data-theme'] })
    return () => {
      resized.disconnect()
      themed.disconnect()
    }
  }, [timeline, lanes, span, lostMs])

  const msAt = (event: PointerEvent) => {
    const box = event.currentTarget.getBoundingClientRect()
    return span.from + ((event.clientX - box.left) / box.width) * (span.to - span.from)
  }
  const barAt = (event: PointerEvent): Bar | undefined => {
    const box = event.currentTarget.getBoundingClientRect()
    const lane = Math.floor((event.clientY - box.top - GAP) / (LANE + GAP))
    const ms = msAt(event)
    const slack = (2 * (span.to - span.from)) / box.width
    return lanes.bars.findLast((bar) => bar.lane === lane && bar.start - slack <= ms && ms <= bar.end + slack)
  }
  const percentOf = (ms: number) => (100 * (ms - span.from)) / (span.to - span.from)
  return (
    <div
      className="lanes"
      style={{ height }}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId)
        const ms = msAt(event)
        setDrag({ from: ms, to: ms })
      }}
      onPointerMove={(event) => {
        if (drag) setDrag({ ...drag, to: msAt(event) })
        const bar = barAt(event)
        const box = event.currentTarget.getBoundingClientRect()
        setHover(bar ? { bar, x: event.clientX - box.left, y: event.clientY - box.top } : null)
      }}
      onPointerLeave={() => setHover(null)}
      onPointerUp={(event) => {
        if (drag && Math.abs(percentOf(drag.to) - percentOf(drag.from)) > 1) {
          onZoom({ from: Math.max(0, Math.min(drag.from, drag.to)), to: Math.max(drag.from, drag.to) })
        } else {
          const bar = barAt(event)
          const stage = bar && timeline.attempts.stage[bar.index]
          if (stage !== undefined) void navigate(`?tab=stages&stage=${stage}`)
        }
        setDrag(null)
      }}
    >
      <canvas
        ref={canvas}
        className="lanes__canvas"
        style={{ height }}
        role="img"
        aria-label={`${plural(lanes.bars.length, 'attempt')} on ${timeline.executors[lanes.executor]?.executor ?? ''}`}
      />
      {drag && (
        <div
          className="lanes__drag"
          style={{
            left: `${percentOf(Math.min(drag.from, drag.to))}%`,
            width: `${Math.abs(percentOf(drag.to) - percentOf(drag.from))}%`,
          }}
        />
      )}
      {hover && !drag && <Tooltip job={job} timeline={timeline} hover={hover} />}
    </div>
  )
}

function Tooltip({ job, timeline, hover }: { job: Job; timeline: Timeline; hover: { bar: Bar; x: number; y: number } }) {
  const { attempts } = timeline
  const { index } = hover.bar
  const stage = job.stages.find((candidate) => candidate.stage === attempts.stage[index])
  return (
    <div className="tooltip" style={{ left: hover.x + 12, top: hover.y + 14 }} role="status">
      <strong>
        Stage {attempts.stage[index]} · task {attempts.task[index]}
        {(attempts.attempt[index] ?? 0) > 0 && ` · attempt ${attempts.attempt[index] ?? 0}`}
      </strong>
      <span className="truncate">{stage?.name}</span>
      <span className="num">
        {duration(hover.bar.end - hover.bar.start)}, {STATES[attempts.state[index] ?? 5]}
      </span>
      <span className="num muted">
        from {duration(hover.bar.start)}, queued {duration(attempts.queued_ms[index] ?? 0)}
      </span>
    </div>
  )
}

function paint(canvas: HTMLCanvasElement, timeline: Timeline, lanes: ExecutorLanes, span: Span, lostMs: number | null) {
  const scale = window.devicePixelRatio
  const { clientWidth: width, clientHeight: height } = canvas
  canvas.width = width * scale
  canvas.height = height * scale
  const context = canvas.getContext('2d')
  if (!context) return
  context.scale(scale, scale)
  const style = getComputedStyle(document.documentElement)
  const color = (name: string) => style.getPropertyValue(name).trim()
  const colors = { bad: color('--bad'), line: color('--surface-3'), queued: color('--line-strong') }
  const x = (ms: number) => ((ms - span.from) / (span.to - span.from)) * width

  context.fillStyle = colors.line
  for (let lane = 0; lane < lanes.lanes; lane++) {
    context.globalAlpha = 0.45
    context.fillRect(0, GAP + lane * (LANE + GAP), width, LANE)
  }
  const { attempts } = timeline
  for (const bar of lanes.bars) {
    const [left, right] = [x(bar.start), x(bar.end)]
    if (right < 0 || left > width) continue
    const top = GAP + bar.lane * (LANE + GAP)
    const queued = attempts.queued_ms[bar.index] ?? 0
    context.globalAlpha = 0.8
    if (queued > 0) {
      // A thin line for the wait before the start, as long as the lane was free: it never hides another attempt.
      context.fillStyle = colors.queued
      const from = Math.max(x(bar.start - queued), previousEnd(lanes, bar, x))
      context.fillRect(from, top + LANE / 2 - 0.75, Math.max(0, left - from), 1.5)
    }
    const state = attempts.state[bar.index]
    const bad = state === 2 || state === 4
    context.globalAlpha = attempts.winner[bar.index] ? 1 : bad ? 1 : 0.55
    context.fillStyle = bad ? colors.bad : stageColor(attempts.stage[bar.index] ?? 0)
    context.beginPath()
    context.roundRect(left, top, Math.max(1, right - left - 0.5), LANE, 2)
    context.fill()
  }
  context.globalAlpha = 1
  if (lostMs !== null && x(lostMs) >= 0 && x(lostMs) <= width) {
    context.fillStyle = colors.bad
    context.fillRect(x(lostMs), 0, 1.5, height)
  }
}

const ENDS = new WeakMap<ExecutorLanes, Map<number, number>>()

/** Where the bar before this one in the same lane ends. */
function previousEnd(lanes: ExecutorLanes, bar: Bar, x: (ms: number) => number): number {
  let ends = ENDS.get(lanes)
  if (!ends) {
    ends = new Map()
    const lastOfLane: number[] = []
    for (const each of lanes.bars) {
      ends.set(each.index, lastOfLane[each.lane] ?? 0)
      lastOfLane[each.lane] = each.end
    }
    ENDS.set(lanes, ends)
  }
  return x(ends.get(bar.index) ?? 0)
}
