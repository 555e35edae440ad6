//! Moves data to disk when memory runs short: the largest locations first, and no more than needed.
//!
//! A small shuffle therefore never touches a disk. Not here: what a failed write means for a location.

use std::{convert::Infallible, io, sync::Arc};

use futures::{StreamExt, stream};
use penstock_common::lifecycle::CancellationToken;
use penstock_protocol::{frame::Refusal, ids::ShuffleId};

use super::{
    location::{Location, Written},
    store::{LocationKey, Store, shuffle_folder},
};
use crate::metrics;

pub(super) struct Flusher {
    pub store: Arc<Store>,
    pub parallelism: usize,
    pub reserve_bytes: u64,
}

struct Candidate {
    shuffle: ShuffleId,
    key: LocationKey,
    bytes: u64,
    location: Arc<Location>,
}

impl Flusher {
    pub async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.store.budget.pressure() => self.relieve().await,
            }
        }
    }

    /// Flushes until the lower mark is reached, nothing is left to flush, or the disks take nothing.
    pub(super) async fn relieve(&self) {
        loop {
            let goal = self.store.budget.flush_goal();
            let candidates = if goal > 0 { self.largest(goal) } else { Vec::new() };
            if candidates.is_empty() {
                return;
            }
            let folders = self.folders_with_room().await;
            let writes = candidates.into_iter().map(|candidate| self.flush(candidate, &folders));
            let written: Vec<_> = stream::iter(writes).buffer_unordered(self.parallelism).collect().await;
            metrics::memory_used(self.store.budget.used());
            if !written.contains(&Written::Freed) {
                self.store.budget.refuse_waiting();
                return;
            }
        }
    }

    /// The largest locations that together reach `goal`.
    fn largest(&self, goal: u64) -> Vec<Candidate> {
        let mut candidates: Vec<_> = self
            .store
            .each_location()
            .map(|(shuffle, key, location)| Candidate {
                shuffle,
                key,
                bytes: location.flushable_bytes(),
                location,
            })
            .filter(|candidate| candidate.bytes > 0)
            .collect();
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.bytes));
        let mut sum = 0;
        let needed = candidates.iter().take_while(|candidate| {
            let before = sum;
            sum += candidate.bytes;
            before < goal
        });
        let needed = needed.count();
        candidates.truncate(needed);
        candidates
    }

    async fn folders_with_room(&self) -> Vec<usize> {
        let mut with_room = Vec::new();
        for (index, folder) in self.store.folders.iter().enumerate() {
            match self.store.disk.free_bytes(folder).await {
                Ok(free) if free > self.reserve_bytes => with_room.push(index),
                Ok(_) => {}
                Err(error) => tracing::warn!(folder = %folder.display(), %error, "disk does not answer"),
            }
        }
        with_room
    }

    async fn flush(&self, candidate: Candidate, folders: &[usize]) -> Written {
        let Candidate { shuffle, key: (partition, epoch), location, .. } = candidate;
        let choice = folders.get((partition.0 as usize + shuffle.exchange.0 as usize) % folders.len().max(1));
        let folder = &self.store.folders[choice.copied().unwrap_or(0)];
        let file = || folder.join(shuffle_folder(shuffle)).join(format!("{partition}-{epoch}"));
        let Some(write) = location.begin_write(file) else { return Written::Freed };
        let started = tokio::time::Instant::now();
        let outcome = if folders.is_empty() {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        } else {
            self.store.disk.write_at(&write.file, write.offset, write.pieces).await
        };
        match outcome {
            Ok(()) => {
                metrics::flushed(write.bytes, started.elapsed());
                self.store.pace.flush.record(write.bytes, started.elapsed());
                location.end_write(Ok(()))
            }
            Err(error) => {
                metrics::flush_failed();
                tracing::warn!(%shuffle, %partition, file = %write.file.display(), %error, "writing shuffle data failed");
                location.end_write(Err(refusal(&write.file, &error)))
            }
        }
    }
}

fn refusal(file: &std::path::Path, error: &io::Error) -> (Refusal, String) {
    let refusal = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refusal::NoRoom,
        _ => Refusal::Broken,
    };
    (refusal, format!("writing {} failed: {error}", file.display()))
}
