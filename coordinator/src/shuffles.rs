//! Shuffles as the coordinator handles them: it alone reserves, commits and releases, and it reads results.
//!
//! In: what the core decided. Out: targets, verdicts, payloads, and failures that say whose fault they are. The shuffle
//! library does the talking. Not here: picking winners, which the core journals first.

mod remote;

use std::{collections::BTreeSet, fmt::Debug, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use penstock_protocol::{
    ids::{Epoch, JobId, PartitionIndex, ShuffleId, WorkerId},
    shuffle::{CommitVerdict, Location, PartitionSource, ShuffleTarget, Winner},
};

pub use remote::RemoteShuffles;

use crate::{cluster_log::Workers, job::JobFailure};

/// Reserves, commits and releases.
#[async_trait]
pub trait ShuffleOwner: Debug + Send + Sync {
    /// Says whose quota a job uses, and the tags (with commas between them) that its workers must have. Before its first
    /// reservation, and as often as one likes.
    fn describe(&self, _job: JobId, _owner: Option<&str>, _tags: &str) {}

    /// Room for every partition, or none.
    async fn reserve(&self, shuffle: ShuffleId, partitions: u32) -> Result<ShuffleTarget, JobFailure>;

    /// Further epochs of a shuffle, all or none, away from `suspects` if there are other workers.
    async fn extend(
        &self,
        shuffle: ShuffleId,
        wanted: &[(PartitionIndex, Epoch)],
        suspects: &[WorkerId],
    ) -> Result<Vec<Location>, JobFailure>;

    /// Closes epochs that writers have left; what is said of them holds for the commit. What fails here is left to that.
    async fn close_early(&self, _ended: &ShuffleTarget) {}

    /// The workers that are about to leave.
    async fn leaving(&self) -> BTreeSet<WorkerId> {
        BTreeSet::new()
    }

    /// A verdict for every copy of every location of the target.
    async fn commit(
        &self,
        target: &ShuffleTarget,
        winners: &[Winner],
    ) -> Result<Vec<(Location, CommitVerdict)>, JobFailure>;

    /// Nobody reads these any more. What fails here expires by itself.
    async fn release(&self, shuffles: &[ShuffleId]);

    /// Nothing of the job is read any more.
    async fn release_job(&self, job: JobId);

    /// Data of these jobs must not expire.
    async fn keep_alive(&self, jobs: &[JobId]);
}

/// Why a partition could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("shuffle {shuffle} is lost: {reason}")]
    Lost { shuffle: ShuffleId, reason: String },
    #[error("shuffle {shuffle} is not available: {reason}")]
    Unavailable { shuffle: ShuffleId, reason: String },
}

/// Reads committed partitions.
pub trait ShuffleReader: Debug + Send + Sync {
    /// The winners' payloads, each exactly once; ends with an error unless they add up to the source's totals.
    fn read(
        &self,
        shuffle: ShuffleId,
        winners: Arc<[Winner]>,
        source: PartitionSource,
    ) -> BoxStream<'static, Result<Bytes, ReadError>>;
}

/// All that a coordinator does with shuffles.
pub trait Shuffles: ShuffleOwner + ShuffleReader + Workers {}

impl<T: ShuffleOwner + ShuffleReader + Workers> Shuffles for T {}
