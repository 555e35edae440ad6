//! Epochs for a process that owns its shuffles itself, without anybody between writers and owner.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use futures::{FutureExt, future::BoxFuture};
use penstock_common::lifecycle::{OnFailure, Tasks};
use penstock_protocol::{
    ids::{Epoch, PartitionIndex, ShuffleId},
    shuffle::{EndedEpoch, EpochEnd, Location, ShuffleTarget},
};
use tokio::sync::Notify;

use super::{Epochs, Owner, OwnerError, UnknownEpoch, lock};
use crate::revive::{NotRevived, ReviveRequest, Reviver};

/// Reserves shuffles and keeps their epochs in memory.
#[derive(Debug)]
pub struct Ledger {
    owner: Arc<Owner>,
    shuffles: Mutex<HashMap<ShuffleId, Epochs>>,
    /// A reservation has ended.
    changed: Notify,
    /// Where epochs that writers have left are closed.
    tasks: Option<Tasks>,
}

impl Ledger {
    pub fn new(owner: Arc<Owner>) -> Self {
        Self { owner, shuffles: Mutex::default(), changed: Notify::new(), tasks: None }
    }

    /// Closes what writers have left at once, on `tasks`, so that its workers may leave before the end of the shuffle.
    pub fn closing_early(self, tasks: Tasks) -> Self {
        Self { tasks: Some(tasks), ..self }
    }

    /// As [`Owner::reserve`], and keeps the locations.
    pub async fn reserve(&self, shuffle: ShuffleId, partitions: u32) -> Result<ShuffleTarget, OwnerError> {
        let target = self.owner.reserve(shuffle, partitions).await?;
        lock(&self.shuffles).insert(shuffle, Epochs::new(&target));
        Ok(target)
    }

    /// Everything that was handed out for a shuffle, for [`Owner::commit`].
    pub fn all(&self, shuffle: ShuffleId) -> Option<ShuffleTarget> {
        lock(&self.shuffles).get(&shuffle).map(Epochs::all)
    }

    /// The shuffle is committed or lost.
    pub fn forget(&self, shuffle: ShuffleId) {
        lock(&self.shuffles).remove(&shuffle);
        self.changed.notify_waiters();
    }

    async fn next(&self, request: ReviveRequest) -> Result<Vec<Location>, NotRevived> {
        let ReviveRequest { shuffle, ended, suspects } = request;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let wanted = {
                let mut shuffles = lock(&self.shuffles);
                let epochs = shuffles.get_mut(&shuffle).ok_or_else(|| over(shuffle))?;
                if let Some(newer) = epochs.newer(&ended)? {
                    return Ok(newer);
                }
                epochs.wanted(&ended)?
            };
            if wanted.is_empty() {
                changed.await;
                continue;
            }
            let left = self.left(shuffle, &wanted, &ended);
            let reserved = self.owner.extend(shuffle, &wanted, &suspects).await;
            if let Some(epochs) = lock(&self.shuffles).get_mut(&shuffle) {
                match &reserved {
                    Ok(locations) => epochs.reserved(locations),
                    Err(_) => epochs.not_reserved(&wanted),
                }
            }
            self.changed.notify_waiters();
            if reserved.is_ok() {
                self.close(left);
            }
            reserved.map_err(|error| NotRevived { reason: error.to_string() })?;
        }
    }
}

impl Ledger {
    /// The epochs before these that take nothing more.
    fn left(
        &self,
        shuffle: ShuffleId,
        wanted: &[(PartitionIndex, Epoch)],
        ended: &[EndedEpoch],
    ) -> ShuffleTarget {
        let is_left = |location: &Location| {
            wanted.iter().any(|(partition, _)| *partition == location.partition)
                && ended.iter().any(|ended| {
                    ended.why != EpochEnd::Grown
                        && (ended.partition, ended.epoch) == (location.partition, location.epoch)
                })
        };
        let mut target = self.all(shuffle).unwrap_or(ShuffleTarget { shuffle, locations: Vec::new() });
        target.locations.retain(is_left);
        target
    }

    fn close(&self, left: ShuffleTarget) {
        let Some(tasks) = self.tasks.as_ref().filter(|_| !left.locations.is_empty()) else { return };
        let owner = Arc::clone(&self.owner);
        tasks.spawn("close-epochs", OnFailure::Log, async move {
            owner.commit_early(&left).await;
            Ok::<(), Infallible>(())
        });
    }
}

impl Reviver for Ledger {
    fn revive(&self, request: ReviveRequest) -> BoxFuture<'_, Result<Vec<Location>, NotRevived>> {
        self.next(request).boxed()
    }
}

impl From<UnknownEpoch> for NotRevived {
    fn from(error: UnknownEpoch) -> Self {
        Self { reason: error.to_string() }
    }
}

fn over(shuffle: ShuffleId) -> NotRevived {
    NotRevived { reason: format!("shuffle {shuffle} is over") }
}
