//! Writes each job's event log: what happened, from the first second, readable while the job runs.
//!
//! In: records and summaries, in the order in which they happened. Out: immutable zstd segments of JSON lines and a
//! `summary.json` per job, on any OpenDAL store. Records reach the local spool first and leave it once the store has
//! them, so that a dead store or a killed coordinator loses none. Not here: deciding what is worth a record.

mod reader;
mod root;
mod spool;
mod upload;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use opendal::Operator;
use penstock_common::{
    clock::Timestamp,
    lifecycle::{OnFailure, Tasks},
};
use penstock_protocol::{
    event::{Event, Record, Summary},
    ids::JobId,
};
use tokio::sync::{mpsc, oneshot};

pub use self::{
    reader::ReadError,
    root::{RootError, open_root},
};

/// Records that may wait for the spool. Beyond it life-cycle records wait for room on the local disk and samples drop.
const INBOX_MAX: usize = 16_384;
/// Closed segments that may wait for the store in memory; more wait in the spool alone.
const UPLOADS_MAX: usize = 16_384;

/// What the writer is told, in order.
#[derive(Debug)]
enum Entry {
    Record {
        job: JobId,
        at: Timestamp,
        event: Box<Event>,
    },
    Summary(Box<Summary>),
    /// Answered when everything before it is in the store.
    Flush(oneshot::Sender<()>),
}

/// Takes records and keeps no files; what the simulation puts in place of spool and store.
pub trait Recorder: std::fmt::Debug + Send + Sync {
    fn record(&self, job: JobId, at: Timestamp, event: &Event);
}

/// A cheap handle to the writer.
#[derive(Debug, Clone)]
pub struct EventLog {
    entries: mpsc::Sender<Entry>,
    dropped_samples: Arc<AtomicU64>,
    store: Operator,
    spool: PathBuf,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("opening the spool of the event log at {}", path.display())]
    Spool {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl EventLog {
    /// Opens the log and starts its writer. What a former life left in the spool goes to the store first.
    pub fn open(root: &str, spool: PathBuf, tasks: &Tasks) -> Result<Self, OpenError> {
        let store = open_root(root)?;
        let left_over =
            spool::left_over(&spool).map_err(|source| OpenError::Spool { path: spool.clone(), source })?;
        let (entries, inbox) = mpsc::channel(INBOX_MAX);
        let (uploads, queue) = mpsc::channel(UPLOADS_MAX);
        let dropped_samples = Arc::new(AtomicU64::new(0));
        let backlog = Arc::new(AtomicBool::new(false));
        let uploader = upload::Uploader::new(store.clone(), spool.clone(), left_over, Arc::clone(&backlog));
        let dropped = Arc::clone(&dropped_samples);
        let writer = spool::Writer::new(spool.clone(), store.clone(), uploads, dropped, backlog);
        tasks.spawn("event-log-upload", OnFailure::Log, uploader.run(queue, tasks.stop_token()));
        tasks.spawn("event-log", OnFailure::StopAll, writer.run(inbox, tasks.stop_token()));
        Ok(Self { entries, dropped_samples, store, spool })
    }

    /// A log whose records go to `recorder` and nowhere else; reading it back finds nothing.
    pub fn recorded_by(recorder: Arc<dyn Recorder>, tasks: &Tasks) -> Result<Self, OpenError> {
        let (entries, mut inbox) = mpsc::channel(INBOX_MAX);
        let stop = tasks.stop_token();
        tasks.spawn("event-log", OnFailure::StopAll, async move {
            loop {
                tokio::select! {
                    biased;
                    entry = inbox.recv() => match entry {
                        Some(Entry::Record { job, at, event }) => recorder.record(job, at, &event),
                        Some(Entry::Summary(_) | Entry::Flush(_)) => {}
                        None => return Ok::<(), std::convert::Infallible>(()),
                    },
                    () = stop.cancelled(), if !inbox.is_closed() => inbox.close(),
                }
            }
        });
        let (store, spool) = (open_root("memory:///")?, PathBuf::new());
        Ok(Self { entries, dropped_samples: Arc::default(), store, spool })
    }

    /// Records a life-cycle event. Waits only while the local disk is slower than everything else.
    pub async fn record(&self, job: JobId, at: Timestamp, event: Event) {
        self.send(Entry::Record { job, at, event: Box::new(event) }).await;
    }

    /// Records a sample, or drops and counts it when the log cannot keep up.
    pub fn sample(&self, job: JobId, at: Timestamp, event: Event) {
        if self.entries.try_send(Entry::Record { job, at, event: Box::new(event) }).is_err() {
            self.dropped_samples.fetch_add(1, Ordering::Relaxed);
            metrics::counter!(crate::metrics::EVENT_SAMPLES_DROPPED).increment(1);
        }
    }

    /// Replaces a job's summary.
    pub async fn summary(&self, summary: Summary) {
        self.send(Entry::Summary(Box::new(summary))).await;
    }

    /// Returns when everything recorded so far is in the store.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        self.send(Entry::Flush(done)).await;
        // The writer is gone: it flushed on its way out.
        let _ = flushed.await;
    }

    /// Where the logs lie.
    pub fn store(&self) -> Operator {
        self.store.clone()
    }

    /// A job's records from `from` (a sequence number) on, at most `max`, from the store and the spool.
    pub async fn read(&self, job: JobId, from: u64, max: usize) -> Result<Vec<Record>, ReadError> {
        reader::read(&self.store, &self.spool, job, from, max).await
    }

    async fn send(&self, entry: Entry) {
        if self.entries.send(entry).await.is_err() {
            tracing::debug!("the event log is closed; a late record was not written");
        }
    }
}

fn segment_path(job: JobId, segment: u32) -> String {
    format!("{job}/{segment:08}.jsonl.zst")
}

fn summary_path(job: JobId) -> String {
    format!("{job}/summary.json")
}

#[cfg(test)]
mod tests;
