//! Keeps the log of the cluster: looks at the shuffle workers again and again, and writes what is new beside the logs of jobs.
//!
//! Only the coordinator writes it, so there is one writer, and masters keep nothing (ADR 15). Not here: what counts as news.

mod look;

use std::{convert::Infallible, sync::Arc, time::Duration};

use async_trait::async_trait;
use opendal::{ErrorKind, Operator};
use penstock_common::{
    clock::{Clock, Timestamp},
    lifecycle::CancellationToken,
};
use penstock_protocol::event::{CLUSTER_LOG_PATH, ClusterLog, WorkerStanding};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What is no event, such as how full disks are, is written this often.
const WRITE_EVERY: Duration = Duration::from_secs(10);

/// Where the workers are looked up.
#[async_trait]
pub trait Workers: Send + Sync {
    /// All that a master knows, or why none can be asked.
    async fn workers(&self) -> Result<Vec<WorkerStanding>, String>;
}

pub struct Watch {
    pub workers: Arc<dyn Workers>,
    pub store: Operator,
    pub clock: Arc<dyn Clock>,
}

/// The log, and when it was last written.
struct Kept {
    log: ClusterLog,
    written_at: Option<Timestamp>,
    /// There is an event that the store does not have.
    has_news: bool,
}

impl Watch {
    /// Looks until `stop`. While the store cannot be read nothing is looked at, so that what it has is not lost.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        let mut kept = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.turn(&mut kept) => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn turn(&self, kept: &mut Option<Kept>) {
        if kept.is_none() {
            *kept = self.read().await.map(|log| Kept { log, written_at: None, has_news: false });
        }
        let Some(kept) = kept else { return };
        let seen = self.workers.workers().await;
        let now = self.clock.now();
        kept.has_news |= look::take(&mut kept.log, now, seen);
        let is_due = kept.written_at.is_none_or(|written_at| now - written_at >= WRITE_EVERY);
        if (kept.has_news || is_due) && self.write(&kept.log).await {
            (kept.written_at, kept.has_news) = (Some(now), false);
        }
    }

    /// None if the store does not say.
    async fn read(&self) -> Option<ClusterLog> {
        match self.store.read(CLUSTER_LOG_PATH).await {
            Ok(bytes) => Some(serde_json::from_slice(&bytes.to_vec()).unwrap_or_else(|error| {
                tracing::warn!(%error, "the log of the cluster cannot be read: it begins anew");
                ClusterLog::default()
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(ClusterLog::default()),
            Err(error) => {
                complain(&error);
                None
            }
        }
    }

    async fn write(&self, log: &ClusterLog) -> bool {
        let bytes = serde_json::to_vec(log).expect("it has only text, numbers and lists");
        let written = self.store.write(CLUSTER_LOG_PATH, bytes).await;
        written.inspect_err(complain).is_ok()
    }
}

fn complain(error: &opendal::Error) {
    metrics::counter!(crate::metrics::EVENT_LOG_ERRORS).increment(1);
    tracing::warn!(%error, "the log of the cluster waits for its store");
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use penstock_common::clock::SystemClock;
    use penstock_protocol::ids::Incarnation;

    use super::*;

    /// Says what it was told to say.
    #[derive(Default)]
    struct Scripted(Mutex<Vec<WorkerStanding>>);

    #[async_trait]
    impl Workers for Scripted {
        async fn workers(&self) -> Result<Vec<WorkerStanding>, String> {
            Ok(self.0.lock().expect("nothing panics while it is held").clone())
        }
    }

    fn worker(state: &str) -> WorkerStanding {
        let mut text = serde_json::json!({
            "worker": "w0", "incarnation": 1, "address": "w0:1", "state": "", "heard_at_ms": 1,
        });
        text["state"] = state.into();
        let worker: WorkerStanding = serde_json::from_value(text).expect("is one");
        assert_eq!(worker.incarnation, Incarnation(1));
        worker
    }

    async fn stored(store: &Operator) -> ClusterLog {
        let bytes = store.read(CLUSTER_LOG_PATH).await.expect("was written");
        serde_json::from_slice(&bytes.to_vec()).expect("is a log")
    }

    #[tokio::test]
    async fn a_coordinator_that_starts_again_goes_on_with_the_log() {
        let store = Operator::from_uri("memory:///").expect("opens");
        let workers = Arc::new(Scripted::default());
        for (state, events) in [("serving", 1), ("serving", 1), ("drained", 2)] {
            *workers.0.lock().expect("free") = vec![worker(state)];
            let watch = Watch {
                workers: Arc::clone(&workers) as Arc<dyn Workers>,
                store: store.clone(),
                clock: Arc::new(SystemClock),
            };
            let mut kept = None;
            watch.turn(&mut kept).await;
            let log = stored(&store).await;
            assert_eq!((log.events.len(), log.workers[0].state.as_str()), (events, state));
        }
    }

    #[tokio::test]
    async fn a_log_that_is_none_begins_anew() {
        let store = Operator::from_uri("memory:///").expect("opens");
        store.write(CLUSTER_LOG_PATH, "{\"v\":").await.expect("writes");
        let watch = Watch {
            workers: Arc::new(Scripted(Mutex::new(vec![worker("serving")]))),
            store: store.clone(),
            clock: Arc::new(SystemClock),
        };
        watch.turn(&mut None).await;
        assert_eq!(stored(&store).await.events.len(), 1);
    }
}
