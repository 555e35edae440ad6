import type { Cluster } from '../../api/types'
import { useNow } from '../../components/now'
import { ago, exact } from '../../lib/format'
import { isOld } from './states'

/** Where what is shown comes from, and whether it can be trusted right now. */
export function Watch({ watched }: { watched: Cluster['watched'] }) {
  const now = useNow()
  if (!watched) {
    return (
      <p className="hint">
        This page is made from event logs alone. It knows a machine from the jobs that met it, and says when that was; whether
        an idle machine is up now, the coordinator and the shuffle master know.
      </p>
    )
  }
  return (
    <>
      {watched.silent_since ? (
        <div className="banner banner--bad" data-testid="masters-silent">
          <div className="banner__title">
            No shuffle master answers since{' '}
            <time dateTime={watched.silent_since} title={exact(watched.silent_since)}>
              {ago(watched.silent_since, now)}
            </time>
          </div>
          {watched.silent_because && <div className="banner__message">{watched.silent_because}</div>}
          <div className="banner__advice">Shuffle workers are shown as they stood before.</div>
        </div>
      ) : (
        isOld(watched.looked_at, now) && (
          <div className="banner banner--warn" data-testid="watch-old">
            <div className="banner__title">
              Nobody has written down how shuffle workers stand since{' '}
              <time dateTime={watched.looked_at} title={exact(watched.looked_at)}>
                {ago(watched.looked_at, now)}
              </time>
            </div>
            <div className="banner__advice">
              The coordinator does so every few seconds while it runs and reaches the event log.
            </div>
          </div>
        )
      )}
      <p className="hint">
        This page is made from event logs alone. Shuffle workers are shown as the coordinator last heard of them from a shuffle
        master, executors as the jobs that met them tell.
      </p>
    </>
  )
}
