import { useShuffle } from '../../api/queries'
import type { ExchangeHistory, Job, JobShuffle } from '../../api/types'
import { Dash } from '../../components/dash'
import { Empty, Failed } from '../../components/empty'
import { Skeleton } from '../../components/skeleton'
import { bytes, count, duration, ratio, short } from '../../lib/format'
import './shuffle-tab.css'
import { ExchangeDetails } from './exchange-details'
import { chosen, destination, epochs } from './exchanges'
import { useStageParam } from './selection'
import { ShuffleStory } from './shuffle-story'

/** What was exchanged between stages, where it lay, and what happened to it. */
export function ShuffleTab({ job }: { job: Job }) {
  const shuffle = useShuffle(job.job_id, job.live)
  if (shuffle.error && !shuffle.data) return <Failed error={shuffle.error} />
  if (!shuffle.data) {
    return (
      <div className="card card__body">
        <Skeleton lines={8} />
      </div>
    )
  }
  return <Loaded job={job} shuffle={shuffle.data} />
}

function Loaded({ job, shuffle }: { job: Job; shuffle: JobShuffle }) {
  const [wanted, select] = useStageParam()
  const selected = chosen(shuffle.exchanges, wanted)
  if (!selected) {
    return (
      <div className="card">
        <Empty title="Nothing was shuffled">
          {job.live
            ? 'An exchange appears here when room is reserved for it.'
            : 'No stage of this job hands rows to another one through the shuffle service: it has one stage, or it ended before.'}
        </Empty>
      </div>
    )
  }
  return (
    <>
      {!shuffle.recorded && (
        <p className="hint" data-testid="not-recorded">
          This log tells only what was committed: it was written by a version that did not record placement, epochs, copies
          and losses of shuffles.
        </p>
      )}
      <ShuffleStory story={shuffle.story} />
      <Exchanges exchanges={shuffle.exchanges} recorded={shuffle.recorded} selected={selected.stage} onSelect={select} />
      <ExchangeDetails exchange={selected} recorded={shuffle.recorded} />
    </>
  )
}

interface ExchangesProps {
  exchanges: ExchangeHistory[]
  recorded: boolean
  selected: number
  onSelect: (stage: number) => void
}

function Exchanges({ exchanges, recorded, selected, onSelect }: ExchangesProps) {
  return (
    <section className="card table-scroll" aria-label="Exchanges">
      <table className="table table--hover exchanges" data-testid="exchanges">
        <thead>
          <tr>
            <th>Exchange</th>
            <th className="hide-narrow">Spread by</th>
            <th className="right">Partitions</th>
            <th className="right">Rows</th>
            <th className="right">Bytes</th>
            <th className="right">Skew</th>
            {recorded && <th className="right">Copies</th>}
            {recorded && <th>New epochs</th>}
            <th className="right hide-narrow">Write wait</th>
            <th className="right hide-narrow">Read wait</th>
          </tr>
        </thead>
        <tbody>
          {exchanges.map((exchange) => (
            <tr
              key={exchange.stage}
              tabIndex={0}
              aria-selected={exchange.stage === selected}
              onClick={() => onSelect(exchange.stage)}
              onKeyDown={(event) => {
                if (event.key === 'Enter' || event.key === ' ') {
                  event.preventDefault()
                  onSelect(exchange.stage)
                }
              }}
            >
              <td>
                <span className="exchanges__flow">
                  Stage {exchange.stage} → {destination(exchange.readers)}
                </span>
                {exchange.run > 0 && <span className="tag">run {exchange.run + 1}</span>}
                {exchange.state === 'lost' && <span className="tag tag--bad">lost</span>}
                {exchange.state === 'placed' && <span className="tag">being written</span>}
              </td>
              <td className="hide-narrow">
                <span className="mono muted exchanges__by" title={exchange.output}>
                  {exchange.output}
                </span>
              </td>
              <td className="right num">{count(exchange.partitions)}</td>
              <td className="right num">{short(exchange.rows)}</td>
              <td className="right num">{bytes(exchange.bytes)}</td>
              <td className="right num">
                <Skew skew={exchange.skew} />
              </td>
              {recorded && <td className="right num">{exchange.copies ?? <Dash />}</td>}
              {recorded && <td>{epochs(exchange) || <Dash />}</td>}
              <td className="right num hide-narrow">{wait(exchange.write.wait_ms)}</td>
              <td className="right num hide-narrow">{wait(exchange.read.wait_ms)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

function wait(ms: number) {
  return ms > 0 ? duration(ms) : <Dash />
}

function Skew({ skew }: { skew: number | null }) {
  if (skew === null || skew < 1.05) return <Dash />
  return <span className={skew >= 3 ? 'text-warn' : ''}>{ratio(skew)}</span>
}
