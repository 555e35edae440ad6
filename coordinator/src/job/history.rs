//! What the event log is told of a job's shuffles. Pure.
//!
//! Counts per worker and quantiles over partitions, so that a record stays small whatever the number of partitions. Not
//! here: when something is told.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{
        CommittedWorker, EpochsEnded, Event, ExchangeCommitted, ExchangePartition, LargePartition,
        PARTITIONS_MAX, Quantiles, ShuffleCommitted, ShuffleGrew, ShufflePlaced, ShufflesReleased, StageRun,
        bounded, placed_workers,
    },
    ids::{Epoch, PartitionIndex, ShuffleId, WorkerId},
    shuffle::{
        CommitVerdict, EpochEnd, Location, PartitionSource, PartitionTotals, ShuffleSource, ShuffleTarget,
    },
};

/// Why epochs were asked for that are there now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons {
    pub ended: BTreeMap<EpochEnd, u32>,
    pub suspects: BTreeSet<WorkerId>,
    /// When the first of them was asked for.
    pub since: Option<Timestamp>,
}

pub fn placed(target: &ShuffleTarget, waited_ms: u64) -> Event {
    let (workers, workers_omitted) = placed_workers(&target.locations);
    let copies = target.locations.iter().map(|location| location.workers().count()).max().unwrap_or(0);
    Event::ShufflePlaced(ShufflePlaced {
        stage: target.shuffle.exchange,
        run: target.shuffle.run,
        partitions: target.locations.len() as u32,
        copies: copies as u32,
        waited_ms,
        workers,
        workers_omitted,
    })
}

pub fn grew(now: Timestamp, shuffle: ShuffleId, locations: &[Location], reasons: Reasons) -> Event {
    let (workers, workers_omitted) = placed_workers(locations);
    let ended = reasons.ended.into_iter();
    let mut reasons_by_count: Vec<_> =
        ended.map(|(why, partitions)| EpochsEnded { why, partitions }).collect();
    reasons_by_count.sort_by_key(|ended| Reverse(ended.partitions));
    Event::ShuffleGrew(ShuffleGrew {
        stage: shuffle.exchange,
        run: shuffle.run,
        reasons: reasons_by_count,
        partitions: locations.iter().take(PARTITIONS_MAX).map(|location| location.partition).collect(),
        epoch: locations.iter().map(|location| location.epoch).max().unwrap_or(Epoch(0)),
        suspects: bounded(reasons.suspects.into_iter().collect()).0,
        waited_ms: reasons.since.map_or(0, |since| (now - since).as_millis() as u64),
        workers,
        workers_omitted,
    })
}

/// `took_ms` from the first call.
pub fn committed(
    source: &ShuffleSource,
    verdicts: &[(Location, CommitVerdict)],
    epochs_added: u32,
    took_ms: u64,
) -> Event {
    let totals = |of: fn(&PartitionTotals) -> u64| source.partitions.iter().map(|p| of(&p.totals)).collect();
    let mut sum = PartitionTotals::default();
    source.partitions.iter().for_each(|partition| sum.add(partition.totals));
    let (workers, workers_omitted) = bounded(committed_workers(verdicts));
    Event::ShuffleCommitted(Box::new(ShuffleCommitted {
        stage: source.shuffle.exchange,
        run: source.shuffle.run,
        partitions: source.partitions.len() as u32,
        partitions_empty: source.partitions.iter().filter(|partition| partition.totals.rows == 0).count()
            as u32,
        epochs_added,
        totals: sum,
        partition_rows: Quantiles::of(totals(|totals| totals.rows)),
        partition_bytes: Quantiles::of(totals(|totals| totals.bytes)),
        largest: largest(source),
        took_ms,
        workers,
        workers_omitted,
    }))
}

fn largest(source: &ShuffleSource) -> Vec<LargePartition> {
    let filled = source.partitions.iter().filter(|partition| partition.totals.rows > 0);
    let mut largest: Vec<&PartitionSource> = filled.collect();
    largest.sort_by_key(|partition| Reverse(partition.totals.bytes));
    largest
        .into_iter()
        .take(PARTITIONS_MAX)
        .map(|partition| LargePartition {
            partition: partition.partition,
            rows: partition.totals.rows,
            bytes: partition.totals.bytes,
            epochs: partition.locations.len() as u32,
        })
        .collect()
}

fn committed_workers(verdicts: &[(Location, CommitVerdict)]) -> Vec<CommittedWorker> {
    let mut workers: BTreeMap<&WorkerId, CommittedWorker> = BTreeMap::new();
    for (copy, verdict) in verdicts {
        let worker = workers.entry(&copy.worker.worker).or_insert_with(|| CommittedWorker {
            worker: copy.worker.worker.clone(),
            committed: 0,
            empty: 0,
            failed: 0,
            stored_bytes: 0,
            reason: None,
        });
        match verdict {
            CommitVerdict::Committed { stored_bytes } => {
                worker.committed += 1;
                worker.stored_bytes += stored_bytes;
            }
            CommitVerdict::Empty => worker.empty += 1,
            CommitVerdict::Failed { reason } | CommitVerdict::Unanswered { reason } => {
                worker.failed += 1;
                worker.reason.get_or_insert_with(|| reason.clone());
            }
        }
    }
    workers.into_values().collect()
}

/// The exchange as its readers see it.
pub fn exchanged(source: &ShuffleSource) -> Event {
    let mut partitions: Vec<&PartitionSource> = source.partitions.iter().collect();
    if partitions.len() > ExchangeCommitted::PARTITIONS_MAX {
        partitions.sort_by_key(|partition| Reverse(partition.totals.bytes));
        partitions.truncate(ExchangeCommitted::PARTITIONS_MAX);
        partitions.sort_by_key(|partition| partition.partition);
    }
    let partition = |source: &PartitionSource| ExchangePartition {
        partition: source.partition,
        totals: source.totals,
        workers: source
            .locations
            .iter()
            .flat_map(Location::workers)
            .map(|worker| worker.worker.clone())
            .collect(),
    };
    let partitions = partitions.into_iter().map(partition).collect();
    let (stage, run) = (source.shuffle.exchange, source.shuffle.run);
    Event::ExchangeCommitted(ExchangeCommitted { stage, run, partitions })
}

pub fn released(shuffles: &[ShuffleId]) -> Event {
    let shuffles = shuffles.iter().map(|shuffle| StageRun { stage: shuffle.exchange, run: shuffle.run });
    Event::ShufflesReleased(ShufflesReleased { shuffles: shuffles.collect() })
}

/// Epochs that are being reserved: why, and since when.
#[derive(Debug, Default)]
pub struct Asked {
    partitions: HashMap<PartitionIndex, (EpochEnd, Timestamp)>,
    suspects: BTreeSet<WorkerId>,
}

impl Asked {
    pub fn wants(&mut self, partition: PartitionIndex, why: EpochEnd, now: Timestamp) {
        self.partitions.entry(partition).or_insert((why, now));
    }

    pub fn suspects(&mut self, workers: &[WorkerId]) {
        self.suspects.extend(workers.iter().cloned());
    }

    /// Why the next epoch of a partition is being reserved.
    pub fn why(&self, partition: PartitionIndex) -> Option<EpochEnd> {
        self.partitions.get(&partition).map(|(why, _)| *why)
    }

    /// The reasons of these, which are there now.
    pub fn take(&mut self, partitions: impl Iterator<Item = PartitionIndex>) -> Reasons {
        let mut reasons = Reasons { suspects: std::mem::take(&mut self.suspects), ..Reasons::default() };
        for (why, since) in partitions.filter_map(|partition| self.partitions.remove(&partition)) {
            *reasons.ended.entry(why).or_default() += 1;
            reasons.since = Some(reasons.since.map_or(since, |first| first.min(since)));
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use penstock_protocol::{
        ids::{Incarnation, JobId, StageId},
        shuffle::WorkerAddress,
    };

    use super::*;

    fn worker(name: &str) -> Arc<WorkerAddress> {
        let (control, data) = (String::new(), format!("{name}:1"));
        Arc::new(WorkerAddress { worker: name.into(), incarnation: Incarnation(1), control, data })
    }

    fn shuffle() -> ShuffleId {
        ShuffleId { job: JobId(uuid::Uuid::nil()), exchange: StageId(3), run: 1 }
    }

    fn location(partition: u32) -> Location {
        let (first, second) = if partition.is_multiple_of(2) { ("a", "b") } else { ("b", "a") };
        Location {
            replica: Some(worker(second)),
            ..Location::on(PartitionIndex(partition), Epoch(0), worker(first))
        }
    }

    fn source(partitions: u32) -> ShuffleSource {
        let partition = |index: u32| PartitionSource {
            partition: PartitionIndex(index),
            locations: vec![location(index)],
            totals: PartitionTotals {
                rows: index.into(),
                bytes: 10 * u64::from(index),
                batches: 1,
                checksum: 0,
            },
        };
        ShuffleSource {
            shuffle: shuffle(),
            winners: Arc::new([]),
            partitions: (0..partitions).map(partition).collect(),
        }
    }

    // A record that grew with partitions would be 12 MB here.
    #[test]
    fn no_record_grows_with_a_hundred_thousand_partitions() {
        let source = source(100_000);
        let target = ShuffleTarget { shuffle: shuffle(), locations: (0..100_000).map(location).collect() };
        let copies = target.locations.iter().flat_map(Location::copies);
        let verdicts: Vec<_> =
            copies.map(|copy| (copy, CommitVerdict::Committed { stored_bytes: 1 })).collect();
        let now = Timestamp::from_millis(0);
        let bytes = |event: &Event| serde_json::to_vec(event).map_or(0, |json| json.len());
        assert!(bytes(&placed(&target, 0)) < 2_000);
        assert!(bytes(&grew(now, shuffle(), &target.locations, Reasons::default())) < 2_000);
        assert!(bytes(&committed(&source, &verdicts, 0, 0)) < 3_000);
        let exchanged = exchanged(&source);
        assert!(bytes(&exchanged) < 700_000);
        let Event::ExchangeCommitted(exchanged) = exchanged else { panic!("{exchanged:?}") };
        assert_eq!(exchanged.partitions.len(), ExchangeCommitted::PARTITIONS_MAX);
        assert_eq!(exchanged.partitions.last().map(|last| last.partition), Some(PartitionIndex(99_999)));
    }

    #[test]
    fn a_commit_tells_what_each_worker_said() {
        let failed = |reason: &str| CommitVerdict::Failed { reason: reason.to_owned() };
        let copies: Vec<_> = [location(0), location(1)].iter().flat_map(Location::copies).collect();
        let said = [
            CommitVerdict::Committed { stored_bytes: 7 },
            failed("gone"),
            failed("later"),
            CommitVerdict::Empty,
        ];
        let verdicts: Vec<_> = copies.into_iter().zip(said).collect();
        let Event::ShuffleCommitted(told) = committed(&source(2), &verdicts, 4, 9) else { panic!() };
        let counts = |worker: &CommittedWorker| (worker.committed, worker.empty, worker.failed);
        assert_eq!(told.workers.iter().map(counts).collect::<Vec<_>>(), [(1, 1, 0), (0, 0, 2)]);
        assert_eq!(told.workers[1].reason.as_deref(), Some("gone"));
        assert_eq!((told.partitions_empty, told.epochs_added, told.totals.rows), (1, 4, 1));
    }

    #[test]
    fn reasons_are_those_of_the_epochs_that_are_there() {
        let mut asked = Asked::default();
        let at = Timestamp::from_millis;
        asked.wants(PartitionIndex(0), EpochEnd::Grown, at(20));
        asked.wants(PartitionIndex(0), EpochEnd::Full, at(30));
        asked.wants(PartitionIndex(1), EpochEnd::WorkerLost, at(10));
        asked.wants(PartitionIndex(2), EpochEnd::Grown, at(5));
        asked.suspects(&["a".into()]);
        let reasons = asked.take([0, 1, 9].into_iter().map(PartitionIndex));
        assert_eq!(reasons.ended, BTreeMap::from([(EpochEnd::Grown, 1), (EpochEnd::WorkerLost, 1)]));
        assert_eq!((reasons.since, reasons.suspects.len()), (Some(at(10)), 1));
        assert_eq!(asked.take(std::iter::once(PartitionIndex(0))), Reasons::default());
    }
}
