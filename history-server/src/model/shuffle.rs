//! What a job's log says of one run of an exchange: placed, grown, committed, lost, released.
//!
//! Bounded by workers, never by the number of records.

use std::collections::BTreeMap;

use penstock_protocol::{
    event::{PlacedWorker, ShuffleCommitted, ShuffleGrew, ShufflePlaced},
    ids::WorkerId,
    shuffle::EpochEnd,
};

/// Moves to new epochs that are kept one by one; more are only counted.
const MOVES_MAX: usize = 32;
/// Workers kept of those that came with new epochs.
const WORKERS_MAX: usize = 1024;

/// The shuffle of one run of a stage.
#[derive(Debug, Default)]
pub struct Shuffle {
    pub placed: Option<At<ShufflePlaced>>,
    pub growth: Growth,
    pub committed: Option<At<ShuffleCommitted>>,
    /// Why it was lost.
    pub lost: Option<At<String>>,
    pub released_at_ms: Option<i64>,
}

/// When something was told.
#[derive(Debug, Clone)]
pub struct At<T> {
    pub at_ms: i64,
    pub what: T,
}

/// New epochs while the stage ran.
#[derive(Debug, Default)]
pub struct Growth {
    /// Partitions that moved, by the reason.
    pub reasons: BTreeMap<EpochEnd, u64>,
    /// How often room for new epochs was reserved.
    pub times: u64,
    /// The longest wait of a writer.
    pub waited_ms_max: u64,
    pub workers: BTreeMap<WorkerId, PlacedWorker>,
    /// How often a worker was named as one that did not answer or lost what it held, and when first.
    pub suspects: BTreeMap<WorkerId, (u64, i64)>,
    /// The first moves.
    pub moves: Vec<Move>,
}

/// Partitions that went on elsewhere together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub at_ms: i64,
    /// The most frequent reason.
    pub why: EpochEnd,
    pub partitions: u64,
    pub suspects: Vec<WorkerId>,
}

impl Shuffle {
    pub fn place(&mut self, at_ms: i64, placed: ShufflePlaced) {
        self.placed = Some(At { at_ms, what: placed });
    }

    pub fn grow(&mut self, at_ms: i64, grew: ShuffleGrew) {
        self.growth.add(at_ms, grew);
    }

    pub fn commit(&mut self, at_ms: i64, committed: ShuffleCommitted) {
        self.committed = Some(At { at_ms, what: committed });
    }

    pub fn lose(&mut self, at_ms: i64, reason: String) {
        self.lost = Some(At { at_ms, what: reason });
    }
}

impl Growth {
    pub fn partitions(&self) -> u64 {
        self.reasons.values().sum()
    }

    fn add(&mut self, at_ms: i64, grew: ShuffleGrew) {
        let partitions = grew.reasons.iter().map(|reason| u64::from(reason.partitions)).sum();
        for reason in &grew.reasons {
            *self.reasons.entry(reason.why).or_default() += u64::from(reason.partitions);
        }
        self.times += 1;
        self.waited_ms_max = self.waited_ms_max.max(grew.waited_ms);
        for placed in grew.workers {
            self.add_worker(placed);
        }
        for suspect in &grew.suspects {
            if self.suspects.len() < WORKERS_MAX || self.suspects.contains_key(suspect) {
                self.suspects.entry(suspect.clone()).or_insert((0, at_ms)).0 += 1;
            }
        }
        if self.moves.len() < MOVES_MAX {
            let why = grew.reasons.first().map(|reason| reason.why).unwrap_or_default();
            self.moves.push(Move { at_ms, why, partitions, suspects: grew.suspects });
        }
    }

    fn add_worker(&mut self, placed: PlacedWorker) {
        if let Some(known) = self.workers.get_mut(&placed.worker) {
            known.primaries = known.primaries.saturating_add(placed.primaries);
            known.replicas = known.replicas.saturating_add(placed.replicas);
        } else if self.workers.len() < WORKERS_MAX {
            self.workers.insert(placed.worker.clone(), placed);
        }
    }
}

#[cfg(test)]
mod tests {
    use penstock_protocol::{
        event::EpochsEnded,
        ids::{Epoch, PartitionIndex, StageId},
    };

    use super::*;

    fn grew(worker: String) -> ShuffleGrew {
        ShuffleGrew {
            stage: StageId(0),
            run: 0,
            reasons: vec![EpochsEnded { why: EpochEnd::Grown, partitions: 3 }],
            partitions: vec![PartitionIndex(1)],
            epoch: Epoch(1),
            suspects: vec![WorkerId::new(worker.clone())],
            waited_ms: 4,
            workers: vec![PlacedWorker {
                worker: WorkerId::new(worker),
                address: String::new(),
                primaries: 3,
                replicas: 0,
            }],
            workers_omitted: 0,
        }
    }

    #[test]
    fn what_is_kept_does_not_grow_with_the_records() {
        let mut shuffle = Shuffle::default();
        (0..100_000).for_each(|n| shuffle.grow(n, grew(format!("shuffle-{}", n % 5000))));
        let growth = &shuffle.growth;
        assert_eq!((growth.times, growth.partitions()), (100_000, 300_000));
        assert_eq!((growth.moves.len(), growth.workers.len(), growth.suspects.len()), (32, 1024, 1024));
        assert_eq!(growth.suspects[&WorkerId::from("shuffle-3")], (20, 3));
    }
}
