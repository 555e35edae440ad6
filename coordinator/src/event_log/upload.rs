//! Carries closed segments and summaries to the store, in order, for as long as it takes.

use std::{
    convert::Infallible,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opendal::Operator;
use penstock_protocol::event::Summary;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    segment_path,
    spool::{self, Segment},
    summary_path,
};

const COMPRESSION_LEVEL: i32 = 3;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Something for the store.
#[derive(Debug)]
pub(super) enum Upload {
    Segment(Segment),
    Summary(Box<Summary>),
    Flushed(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Uploader {
    store: Operator,
    spool: PathBuf,
    left_over: Vec<Segment>,
    /// Set by the writer when it had to leave segments in the spool.
    backlog: Arc<AtomicBool>,
}

#[derive(Debug, thiserror::Error)]
enum UploadError {
    #[error("reading a spooled segment: {0}")]
    Spool(#[from] io::Error),
    #[error("writing to the store: {0}")]
    Store(#[from] opendal::Error),
    #[error("a summary has no JSON form: {0}")]
    Summary(#[from] serde_json::Error),
}

impl Uploader {
    pub(super) fn new(
        store: Operator,
        spool: PathBuf,
        left_over: Vec<Segment>,
        backlog: Arc<AtomicBool>,
    ) -> Self {
        Self { store, spool, left_over, backlog }
    }

    /// Ends when the writer has ended and everything is stored, or at once when stopped while the store fails: what
    /// is not stored by then stays in the spool.
    pub(super) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Upload>,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        for segment in std::mem::take(&mut self.left_over) {
            self.carry(Upload::Segment(segment), &stop).await;
        }
        while let Some(upload) = queue.recv().await {
            self.carry(upload, &stop).await;
            if queue.is_empty() && self.backlog.swap(false, Ordering::Acquire) {
                self.carry_backlog(&stop).await;
            }
        }
        Ok(())
    }

    /// Carries what is closed and was never handed over.
    async fn carry_backlog(&self, stop: &CancellationToken) {
        match spool::closed(&self.spool) {
            Ok(segments) => {
                for segment in segments {
                    self.carry(Upload::Segment(segment), stop).await;
                }
            }
            Err(error) => tracing::warn!(%error, "the spool of the event log cannot be listed"),
        }
    }

    async fn carry(&self, upload: Upload, stop: &CancellationToken) {
        let mut pause = Duration::from_millis(100);
        while let Err(error) = self.try_carry(&upload).await {
            metrics::counter!(crate::metrics::EVENT_LOG_ERRORS).increment(1);
            tracing::warn!(%error, "the event log waits for its store");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_AFTER_MAX),
            }
        }
        if let Upload::Flushed(done) = upload {
            // Nobody waits any more: fine.
            let _ = done.send(());
        }
    }

    async fn try_carry(&self, upload: &Upload) -> Result<(), UploadError> {
        match upload {
            Upload::Segment(segment) => self.store_segment(segment).await,
            Upload::Summary(summary) => {
                self.store.write(&summary_path(summary.job), serde_json::to_vec(summary)?).await?;
                Ok(())
            }
            Upload::Flushed(_) => Ok(()),
        }
    }

    async fn store_segment(&self, segment: &Segment) -> Result<(), UploadError> {
        let lines = match &segment.unspooled {
            Some(lines) => lines.clone(),
            None => match tokio::fs::read(&segment.path).await {
                Ok(lines) => lines,
                // Stored by an earlier try whose answer was lost.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error.into()),
            },
        };
        let packed = tokio::task::spawn_blocking(move || zstd::bulk::compress(&lines, COMPRESSION_LEVEL))
            .await
            .map_err(io::Error::other)??;
        self.store.write(&segment_path(segment.job, segment.number), packed).await?;
        forget(segment).await;
        Ok(())
    }
}

/// Removes a stored segment from the spool, and the job's folder with the last one.
async fn forget(segment: &Segment) {
    if let Err(error) = tokio::fs::remove_file(&segment.path).await
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %segment.path.display(), %error, "a stored segment stays in the spool");
    }
    if let Some(folder) = segment.path.parent() {
        // Fails while another segment of the job is in it, as it should.
        let _ = tokio::fs::remove_dir(folder).await;
    }
}
