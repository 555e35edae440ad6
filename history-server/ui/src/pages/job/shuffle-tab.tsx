import type { Exchange, Job, Stage } from '../../api/types'
import { Empty } from '../../components/empty'
import { bytes, count, duration, plural, ratio, short } from '../../lib/format'

export function ShuffleTab({ job }: { job: Job }) {
  const exchanges = job.stages.filter((stage) => stage.exchange !== null)
  if (exchanges.length === 0) {
    return (
      <div className="card">
        <Empty title="Nothing was shuffled">
          {job.live
            ? 'An exchange appears here when its stage is complete.'
            : 'No exchange was committed in this job: it has one stage, or it ended before.'}
        </Empty>
      </div>
    )
  }
  return (
    <>
      {exchanges.map((stage) => stage.exchange && <ExchangeCard key={stage.stage} job={job} stage={stage} exchange={stage.exchange} />)}
    </>
  )
}

function ExchangeCard({ job, stage, exchange }: { job: Job; stage: Stage; exchange: Exchange }) {
  const readers = job.stages.filter((other) => other.inputs.some((input) => input.stage === stage.stage))
  const spread = exchange.partition_bytes
  const skew = spread.count > 1 && spread.median > 0 ? spread.max / spread.median : 1
  return (
    <section className="card" aria-label={`Exchange of stage ${stage.stage}`}>
      <div className="card__head">
        <h2>
          Stage {stage.stage} → {readers.length > 0 ? readers.map((reader) => `stage ${reader.stage}`).join(', ') : 'client'}{' '}
          <span className="muted mono exchange__output">{stage.output}</span>
        </h2>
        {exchange.run > 0 && <span className="tag">run {exchange.run + 1}</span>}
        {skew >= 2 && <span className="text-warn num">skew {ratio(skew)}</span>}
      </div>
      <div className="exchange">
        <dl className="exchange__facts">
          <Fact name="Rows" value={count(exchange.rows)} />
          <Fact name="Bytes" value={bytes(exchange.bytes)} />
          <Fact name="Batches" value={count(exchange.batches)} />
          <Fact name="Partitions" value={count(exchange.partitions)} />
          <Fact name="Write wait" value={duration(stage.totals.shuffle_write_wait_ms)} />
          <Fact
            name="Read wait"
            value={duration(readers.reduce((sum, reader) => sum + reader.totals.shuffle_read_wait_ms, 0))}
          />
        </dl>
        <Partitions exchange={exchange} />
        <Workers exchange={exchange} />
      </div>
    </section>
  )
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="num">{value}</dd>
    </div>
  )
}

function Partitions({ exchange }: { exchange: Exchange }) {
  const largest = Math.max(1, exchange.partition_bytes.max)
  return (
    <figure className="partitions">
      <figcaption className="muted">
        Bytes by partition
        {exchange.largest.length < exchange.partitions &&
          `, the ${exchange.largest.length} largest of ${count(exchange.partitions)}`}
      </figcaption>
      <div className="partitions__bars" role="img" aria-label={`${plural(exchange.partitions, 'partition')}, the largest ${bytes(largest)}`}>
        {exchange.largest.map((partition) => (
          <div
            key={partition.partition}
            className="partitions__bar"
            style={{ height: `${Math.max(1.5, (100 * partition.bytes) / largest)}%` }}
            title={`Partition ${partition.partition}: ${short(partition.rows)} rows, ${bytes(partition.bytes)}, ${plural(partition.batches, 'batch').replace('batchs', 'batches')} on ${partition.workers.join(', ')}`}
          />
        ))}
      </div>
    </figure>
  )
}

function Workers({ exchange }: { exchange: Exchange }) {
  const largest = Math.max(1, ...exchange.workers.map((worker) => worker.bytes))
  return (
    <div>
      <p className="muted exchange__caption">By worker</p>
      <ul className="workers">
        {exchange.workers.map((worker) => (
          <li key={worker.worker}>
            <span className="truncate">{worker.worker}</span>
            <div className="bar">
              <div className="bar__fill" style={{ width: `${(100 * worker.bytes) / largest}%` }} />
            </div>
            <span className="num muted">{bytes(worker.bytes)}</span>
          </li>
        ))}
      </ul>
    </div>
  )
}
