//! The real thing: the shuffle library's owner and reader over the network.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use penstock_protocol::{
    event::WorkerStanding,
    ids::{Epoch, JobId, PartitionIndex, ShuffleId, WorkerId},
    shuffle::{CommitVerdict, Location, PartitionSource, ShuffleTarget, Winner},
    task::FailureClass,
};
use penstock_shuffle_client::{
    FetchError, ShuffleClient,
    owner::{Owner, OwnerError, Profile},
};

use super::{ReadError, ShuffleOwner, ShuffleReader};
use crate::{cluster_log::Workers, job::JobFailure};

/// Releases that run at the same time.
const RELEASES_AT_ONCE: usize = 16;

#[derive(Debug)]
pub struct RemoteShuffles {
    owner: Owner,
    client: ShuffleClient,
}

impl RemoteShuffles {
    pub fn new(owner: Owner, client: ShuffleClient) -> Self {
        Self { owner, client }
    }
}

#[async_trait]
impl ShuffleOwner for RemoteShuffles {
    fn describe(&self, job: JobId, owner: Option<&str>, tags: &str) {
        let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        self.owner.describe(job, Profile { user: owner.unwrap_or_default().to_owned(), tags });
    }

    async fn reserve(&self, shuffle: ShuffleId, partitions: u32) -> Result<ShuffleTarget, JobFailure> {
        self.owner.reserve(shuffle, partitions).await.map_err(|error| failure(&error))
    }

    async fn extend(
        &self,
        shuffle: ShuffleId,
        wanted: &[(PartitionIndex, Epoch)],
        suspects: &[WorkerId],
    ) -> Result<Vec<Location>, JobFailure> {
        self.owner.extend(shuffle, wanted, suspects).await.map_err(|error| failure(&error))
    }

    async fn close_early(&self, ended: &ShuffleTarget) {
        self.owner.commit_early(ended).await;
    }

    async fn leaving(&self) -> BTreeSet<WorkerId> {
        self.owner.leaving().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "nobody says which shuffle workers leave");
            BTreeSet::new()
        })
    }

    async fn commit(
        &self,
        target: &ShuffleTarget,
        winners: &[Winner],
    ) -> Result<Vec<(Location, CommitVerdict)>, JobFailure> {
        self.owner.commit(target, winners).await.map_err(|error| failure(&error))
    }

    async fn release(&self, shuffles: &[ShuffleId]) {
        stream::iter(shuffles)
            .for_each_concurrent(RELEASES_AT_ONCE, |shuffle| self.owner.release_shuffle(*shuffle))
            .await;
    }

    async fn release_job(&self, job: JobId) {
        note(self.owner.release_job(job).await);
    }

    async fn keep_alive(&self, jobs: &[JobId]) {
        note(self.owner.keep_alive(jobs).await);
    }
}

#[async_trait]
impl Workers for RemoteShuffles {
    async fn workers(&self) -> Result<Vec<WorkerStanding>, String> {
        self.owner.workers().await.map_err(|error| error.to_string())
    }
}

impl ShuffleReader for RemoteShuffles {
    fn read(
        &self,
        shuffle: ShuffleId,
        winners: Arc<[Winner]>,
        source: PartitionSource,
    ) -> BoxStream<'static, Result<Bytes, ReadError>> {
        self.client.read(shuffle, winners, source).map_err(ReadError::from).boxed()
    }
}

impl From<FetchError> for ReadError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Lost { shuffle, reason } => Self::Lost { shuffle, reason },
            FetchError::Unavailable { shuffle, reason } => Self::Unavailable { shuffle, reason },
        }
    }
}

fn failure(error: &OwnerError) -> JobFailure {
    let (class, advice) = match error {
        OwnerError::NoWorkers { .. } => (
            FailureClass::Infrastructure,
            "see why no shuffle worker is there or has room: `penstock shuffle workers` lists them",
        ),
        OwnerError::Master { .. } => (
            FailureClass::Infrastructure,
            "start a shuffle master there, or name the one that runs in `shuffle_masters` of [coordinator]",
        ),
        OwnerError::Reserve { .. } => {
            (FailureClass::Infrastructure, "look at the log of that shuffle worker")
        }
        OwnerError::OverQuota { .. } => (
            FailureClass::Resources,
            "wait until other jobs have ended, or have the quota raised: `penstock shuffle quota`",
        ),
    };
    JobFailure::new(class, error.to_string(), Some(advice))
}

/// What is not released or renewed now expires or is renewed later.
fn note(outcome: Result<(), OwnerError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "the shuffle service did not take an order");
    }
}
