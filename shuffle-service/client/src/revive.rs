//! How a writer asks for new epochs.
//!
//! A location ends when it is full, when its worker closes, or when one of its copies is lost. The owner of the shuffle
//! reserves the partition's next epoch, records it, and only then tells writers. Not here: who carries the question.

use std::fmt::Debug;

use futures::future::BoxFuture;
use penstock_protocol::{
    ids::{ShuffleId, WorkerId},
    shuffle::{EndedEpoch, Location},
};

/// Partitions of one shuffle that cannot go on where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviveRequest {
    pub shuffle: ShuffleId,
    pub ended: Vec<EndedEpoch>,
    /// Workers that did not answer or lost what they held: the next epochs should stay away from them.
    pub suspects: Vec<WorkerId>,
}

/// Asks the owner of a shuffle.
pub trait Reviver: Debug + Send + Sync + 'static {
    /// The newest location of each partition asked for, which is newer than the epoch that ended. All who ask for the
    /// successor of one epoch get the same.
    fn revive(&self, request: ReviveRequest) -> BoxFuture<'_, Result<Vec<Location>, NotRevived>>;
}

/// There is no new epoch; the attempt fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no new epoch: {reason}")]
pub struct NotRevived {
    pub reason: String,
}
