//! What it takes to move an attempt's data through the shuffle, counted while it moves.
//!
//! Whoever pushes or fetches adds up; whoever reports the attempt's metrics reads at its end, also at a bad one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of one writer.
#[derive(Debug, Default)]
pub struct PushEffort {
    /// Frames handed to connections.
    pub pushes: Counter,
    /// Frames sent again because their outcome was not known.
    pub pushes_resent: Counter,
    /// Batches that came back and went to a new epoch.
    pub batches_revived: Counter,
    /// How often a partition went on in a new epoch.
    pub partitions_moved: Counter,
}

impl PushEffort {
    /// By the names that metrics have.
    pub fn named(&self) -> [(&'static str, u64); 4] {
        [
            ("pushes", self.pushes.get()),
            ("pushes_resent", self.pushes_resent.get()),
            ("batches_revived", self.batches_revived.get()),
            ("partitions_moved", self.partitions_moved.get()),
        ]
    }
}

/// Of one reader.
#[derive(Debug, Default)]
pub struct FetchEffort {
    /// Locations that were read from another copy because one failed.
    pub read_failovers: Counter,
    /// Streams opened again after their connection broke.
    pub streams_reopened: Counter,
    /// Batches that came and did not count: duplicates, and those of losing attempts.
    pub batches_skipped: Counter,
}

impl FetchEffort {
    /// By the names that metrics have.
    pub fn named(&self) -> [(&'static str, u64); 3] {
        [
            ("read_failovers", self.read_failovers.get()),
            ("streams_reopened", self.streams_reopened.get()),
            ("batches_skipped", self.batches_skipped.get()),
        ]
    }
}
