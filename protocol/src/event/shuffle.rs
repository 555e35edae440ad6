//! What happened to the shuffles of a job: placed, grown, lost, committed, released.
//!
//! Every record is bounded by the workers that it names, never by partitions: a shuffle of 100,000 partitions is told in
//! counts, quantiles and its largest partitions.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Epoch, PartitionIndex, StageId, WorkerId},
    shuffle::{EpochEnd, Location, PartitionTotals},
};

/// Workers that one record names; of more the first, with the number of the others.
pub const WORKERS_MAX: usize = 256;
/// Partitions that a record names one by one.
pub const PARTITIONS_MAX: usize = 16;

/// Room was reserved for an exchange: where its partitions begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShufflePlaced {
    pub stage: StageId,
    pub run: u32,
    pub partitions: u32,
    /// Workers that keep each partition.
    pub copies: u32,
    /// From the first try to reserve until room was there.
    #[serde(default)]
    pub waited_ms: u64,
    pub workers: Vec<PlacedWorker>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub workers_omitted: u32,
}

/// How many locations a worker was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacedWorker {
    pub worker: WorkerId,
    /// `host:port` of its data plane.
    pub address: String,
    /// Clients push to these.
    pub primaries: u32,
    /// Second copies of what goes to other workers.
    #[serde(default)]
    pub replicas: u32,
}

/// Partitions went on in new epochs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShuffleGrew {
    pub stage: StageId,
    pub run: u32,
    /// Why the former epochs took nothing more, most frequent first.
    pub reasons: Vec<EpochsEnded>,
    /// The first of the partitions.
    pub partitions: Vec<PartitionIndex>,
    /// The largest new epoch.
    pub epoch: Epoch,
    /// Workers that did not answer or lost what they held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<WorkerId>,
    /// The longest wait of a writer for its answer.
    #[serde(default)]
    pub waited_ms: u64,
    /// Where the new epochs are.
    pub workers: Vec<PlacedWorker>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub workers_omitted: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochsEnded {
    pub why: EpochEnd,
    pub partitions: u32,
}

/// Every worker gave its word on what it stores, and the exchange can be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShuffleCommitted {
    pub stage: StageId,
    pub run: u32,
    pub partitions: u32,
    /// Partitions without a row.
    pub partitions_empty: u32,
    /// Beyond the first of each partition.
    pub epochs_added: u32,
    /// What winners wrote.
    pub totals: PartitionTotals,
    pub partition_rows: Quantiles,
    pub partition_bytes: Quantiles,
    /// By bytes, the largest first.
    pub largest: Vec<LargePartition>,
    /// From the first call until the last verdict.
    #[serde(default)]
    pub took_ms: u64,
    pub workers: Vec<CommittedWorker>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub workers_omitted: u32,
}

/// Over all partitions, empty ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quantiles {
    pub min: u64,
    pub p25: u64,
    pub median: u64,
    pub p75: u64,
    pub p95: u64,
    pub max: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargePartition {
    pub partition: PartitionIndex,
    pub rows: u64,
    pub bytes: u64,
    /// Epochs that it lies in.
    pub epochs: u32,
}

/// A worker's verdicts on the locations that it was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommittedWorker {
    pub worker: WorkerId,
    pub committed: u32,
    #[serde(default)]
    pub empty: u32,
    /// Copies that cannot be read; another copy of each was good.
    #[serde(default)]
    pub failed: u32,
    /// With headers, and with what losing attempts wrote.
    pub stored_bytes: u64,
    /// The first reason, if something failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// No good copy is left of something: the stage that wrote the shuffle runs again, or the job fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShuffleLost {
    pub stage: StageId,
    pub run: u32,
    /// Goes on after "the data was lost:".
    pub reason: String,
    /// How often the data of this stage was lost by now.
    pub losses: u32,
}

/// Nobody reads these any more, and their room was given back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShufflesReleased {
    pub shuffles: Vec<StageRun>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRun {
    pub stage: StageId,
    pub run: u32,
}

/// Counts the locations of each worker: those named, and how many workers are left out.
pub fn placed_workers<'a>(locations: impl IntoIterator<Item = &'a Location>) -> (Vec<PlacedWorker>, u32) {
    let mut workers = std::collections::BTreeMap::new();
    for location in locations {
        for (position, address) in location.workers().enumerate() {
            let placed = workers.entry(&address.worker).or_insert_with(|| PlacedWorker {
                worker: address.worker.clone(),
                address: address.data.clone(),
                primaries: 0,
                replicas: 0,
            });
            match position {
                0 => placed.primaries += 1,
                _ => placed.replicas += 1,
            }
        }
    }
    bounded(workers.into_values().collect())
}

/// The first of a list of workers, and how many are left out.
pub fn bounded<T>(mut workers: Vec<T>) -> (Vec<T>, u32) {
    let omitted = workers.len().saturating_sub(WORKERS_MAX);
    workers.truncate(WORKERS_MAX);
    (workers, u32::try_from(omitted).unwrap_or(u32::MAX))
}

impl Quantiles {
    /// By nearest rank; all zero of nothing.
    pub fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |per_cent: usize| {
            let rank = (values.len() * per_cent).div_ceil(100).max(1);
            values.get(rank - 1).copied().unwrap_or_default()
        };
        Self { min: at(0), p25: at(25), median: at(50), p75: at(75), p95: at(95), max: at(100) }
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{ids::Incarnation, shuffle::WorkerAddress};

    #[test]
    fn quantiles_are_values_that_exist() {
        let of = |values: &[u64]| Quantiles::of(values.to_vec());
        assert_eq!(of(&[]), Quantiles::default());
        assert_eq!(of(&[7]), Quantiles { min: 7, p25: 7, median: 7, p75: 7, p95: 7, max: 7 });
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(of(&hundred), Quantiles { min: 1, p25: 25, median: 50, p75: 75, p95: 95, max: 100 });
    }

    #[test]
    fn workers_are_counted_not_partitions() {
        let worker = |number: u32| {
            let (control, data) = (String::new(), format!("10.0.0.{number}:1"));
            let worker = WorkerId::new(format!("shuffle-{number:04}"));
            Arc::new(WorkerAddress { worker, incarnation: Incarnation(1), control, data })
        };
        let location = |partition: u32, first: u32, second: u32| Location {
            replica: Some(worker(second)),
            ..Location::on(PartitionIndex(partition), Epoch(0), worker(first))
        };
        let (workers, omitted) = placed_workers(&[location(0, 1, 2), location(1, 2, 1), location(2, 1, 2)]);
        let counts: Vec<_> = workers.iter().map(|placed| (placed.primaries, placed.replicas)).collect();
        assert_eq!((counts, omitted), (vec![(2, 1), (1, 2)], 0));

        let many: Vec<_> = (0..1000).map(|number| location(number, number, number + 1)).collect();
        let (workers, omitted) = placed_workers(&many);
        assert_eq!((workers.len(), omitted), (WORKERS_MAX, 1001 - WORKERS_MAX as u32));
    }
}
