import type { ReactNode } from 'react'
import { Link } from 'react-router'
import type { ExchangeHistory, ShuffleWorker } from '../../api/types'
import { Dash } from '../../components/dash'
import { bytes, count, duration, exact, plural, short } from '../../lib/format'
import './exchange-details.css'
import { destination, efforts, isTroubled, placement, summary, verdicts } from './exchanges'

/** One exchange: its numbers, why it is as it is, its partitions, its workers. */
export function ExchangeDetails({ exchange, recorded }: { exchange: ExchangeHistory; recorded: boolean }) {
  return (
    <section className="card" aria-label={`Exchange of stage ${exchange.stage}`} data-testid="exchange">
      <div className="card__head">
        <h2>
          {exchange.name} → {destination(exchange.readers)}{' '}
          <span className="muted mono exchange__output">{exchange.output}</span>
        </h2>
        <Link to={`?tab=stages&stage=${exchange.stage}`}>Stage {exchange.stage}</Link>
        {exchange.readers.map((reader) => (
          <Link key={reader} to={`?tab=stages&stage=${reader}`}>
            Stage {reader}
          </Link>
        ))}
      </div>
      <div className="exchange">
        <Facts exchange={exchange} recorded={recorded} />
        <Partitions exchange={exchange} />
        <Why exchange={exchange} />
      </div>
      <Workers workers={exchange.workers} recorded={recorded} />
    </section>
  )
}

function Facts({ exchange, recorded }: { exchange: ExchangeHistory; recorded: boolean }) {
  return (
    <dl className="exchange__facts">
      <Fact name="Rows">{count(exchange.rows)}</Fact>
      <Fact name="Bytes">{bytes(exchange.bytes)}</Fact>
      <Fact name="Batches">{count(exchange.batches)}</Fact>
      <Fact name="Partitions">
        {count(exchange.partitions)}
        {(exchange.partitions_empty ?? 0) > 0 && (
          <span className="muted exchange__note"> {short(exchange.partitions_empty ?? 0)} empty</span>
        )}
      </Fact>
      {exchange.codec && <Fact name="Codec">{exchange.codec}</Fact>}
      {recorded && exchange.copies !== null && <Fact name="Copies">{count(exchange.copies)}</Fact>}
      {recorded && <Fact name="New epochs">{count(exchange.epochs_added)}</Fact>}
      {exchange.write.pushes > 0 && <Fact name="Pushes">{short(exchange.write.pushes)}</Fact>}
      <Fact name="Write wait">{duration(exchange.write.wait_ms)}</Fact>
      <Fact name="Read wait">{duration(exchange.read.wait_ms)}</Fact>
      {exchange.placed_waited_ms !== null && <Fact name="Reserved in">{duration(exchange.placed_waited_ms)}</Fact>}
      {exchange.commit_took_ms !== null && <Fact name="Committed in">{duration(exchange.commit_took_ms)}</Fact>}
    </dl>
  )
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="num">{children}</dd>
    </div>
  )
}

function Partitions({ exchange }: { exchange: ExchangeHistory }) {
  const largest = Math.max(1, exchange.partition_bytes.max)
  if (exchange.largest.length === 0) {
    return <p className="muted exchange__caption">How large the partitions are is known when the exchange is committed.</p>
  }
  return (
    <figure className="partitions">
      <figcaption className="muted">
        Bytes by partition
        {exchange.largest.length < exchange.partitions &&
          `, the ${exchange.largest.length} largest of ${count(exchange.partitions)}`}
      </figcaption>
      <div className="partitions__bars" role="img" aria-label={`${summary(exchange)}, the largest ${bytes(largest)}`}>
        {exchange.largest.map((partition) => (
          <div
            key={partition.partition}
            className="partitions__bar"
            style={{ height: `${Math.max(1.5, (100 * partition.bytes) / largest)}%` }}
            title={`Partition ${partition.partition}: ${short(partition.rows)} rows, ${bytes(partition.bytes)}${
              (partition.epochs ?? 1) > 1 ? ` in ${plural(partition.epochs ?? 1, 'epoch')}` : ''
            }`}
          />
        ))}
      </div>
      <p className="muted partitions__spread num">
        median {bytes(exchange.partition_bytes.median)} · p95 {bytes(exchange.partition_bytes.p95)} · max{' '}
        {bytes(exchange.partition_bytes.max)}
      </p>
    </figure>
  )
}

function Why({ exchange }: { exchange: ExchangeHistory }) {
  const again = efforts(exchange)
  if (exchange.why.length === 0 && again.length === 0) return <div />
  return (
    <div>
      <p className="muted exchange__caption">Why this way</p>
      <ul className="why">
        {exchange.why.map((text) => (
          <li key={text}>{text}</li>
        ))}
        {again.length > 0 && <li className="muted">{again.join(', ')}</li>}
      </ul>
      {exchange.released_at && (
        <p className="muted exchange__caption" title={exact(exchange.released_at)}>
          Its room was given back.
        </p>
      )}
    </div>
  )
}

function Workers({ workers, recorded }: { workers: ShuffleWorker[]; recorded: boolean }) {
  if (workers.length === 0) return null
  const largest = Math.max(1, ...workers.map((worker) => worker.bytes))
  return (
    <div className="table-scroll exchange__workers">
      <table className="table" data-testid="workers">
        <thead>
          <tr>
            <th>Shuffle worker</th>
            <th className="exchange__share">Bytes</th>
            <th className="right">Rows</th>
            {recorded && <th className="right">Stored</th>}
            {recorded && <th>Partitions given</th>}
            {recorded && <th>At the commit</th>}
          </tr>
        </thead>
        <tbody>
          {workers.map((worker) => (
            <tr key={worker.worker}>
              <td>
                <Link to={`/cluster#${worker.worker}`}>{worker.worker}</Link>{' '}
                {worker.address && <span className="muted mono exchange__address">{worker.address}</span>}
                {isTroubled(worker) && worker.trouble && <div className="text-bad exchange__trouble">{worker.trouble}</div>}
              </td>
              <td className="exchange__share">
                <div className="share">
                  <div className="bar">
                    <div className="bar__fill" style={{ width: `${(100 * worker.bytes) / largest}%` }} />
                  </div>
                  <span className="num">{bytes(worker.bytes)}</span>
                </div>
              </td>
              <td className="right num">{short(worker.rows)}</td>
              {recorded && (
                <td className="right num">{worker.stored_bytes === null ? <Dash /> : bytes(worker.stored_bytes)}</td>
              )}
              {recorded && <td className="num">{placement(worker) || <Dash />}</td>}
              {recorded && (
                <td className={worker.failed > 0 ? 'num text-bad' : 'num'}>{verdicts(worker) || <Dash />}</td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
