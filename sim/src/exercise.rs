//! What a run made the cluster do, so that a simulation that no longer gets there is noticed.
//!
//! In: metrics that the roles count anyway, and records of the event log. Out: counts by feature.

use std::{fmt, sync::Arc};

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use penstock_protocol::{event::Event, shuffle::EpochEnd};

use crate::{kebab, record::Record};

/// Something that the platform promises to do when it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Exchanges whose partitions have second copies.
    SecondCopies,
    // New epochs, by why the former ones ended. The first is a SOFT split, the second a HARD one.
    EpochsAfterGrowth,
    EpochsAfterFull,
    EpochsAfterClosing,
    EpochsAfterLostWorker,
    EpochsAfterLostReplica,
    /// Batches that went to a new epoch because the old one did not take them.
    RevivedBatches,
    /// Batches refused by a worker that drains or stops.
    DrainRefusals,
    /// Readers that went to the other copy.
    ReaderFailovers,
    StageReruns,
    /// Calls that another master answered than the one before.
    MasterTakeovers,
    /// Workers that found the data of a former life.
    RestartsOnData,
    /// Bytes that moved from disks to object stores.
    EvictedBytes,
    /// Jobs that trouble did not excuse, and that had to succeed without running a stage again.
    PromisedJobs,
}

impl Feature {
    pub const ALL: [Self; 14] = [
        Self::SecondCopies,
        Self::EpochsAfterGrowth,
        Self::EpochsAfterFull,
        Self::EpochsAfterClosing,
        Self::EpochsAfterLostWorker,
        Self::EpochsAfterLostReplica,
        Self::RevivedBatches,
        Self::DrainRefusals,
        Self::ReaderFailovers,
        Self::StageReruns,
        Self::MasterTakeovers,
        Self::RestartsOnData,
        Self::EvictedBytes,
        Self::PromisedJobs,
    ];

    fn counted_as(metric: &str, reason: Option<&str>) -> Option<Self> {
        match (metric, reason) {
            ("penstock_shuffle_client_revived_batches_total", None) => Some(Self::RevivedBatches),
            ("penstock_shuffle_client_failovers_total", None) => Some(Self::ReaderFailovers),
            ("penstock_shuffle_client_master_changes_total", None) => Some(Self::MasterTakeovers),
            ("penstock_shuffle_evicted_bytes_total", None) => Some(Self::EvictedBytes),
            ("penstock_shuffle_refused_batches_total", Some("Stopping")) => Some(Self::DrainRefusals),
            _ => None,
        }
    }

    fn of_epoch(why: EpochEnd) -> Option<Self> {
        match why {
            EpochEnd::Grown => Some(Self::EpochsAfterGrowth),
            EpochEnd::Full => Some(Self::EpochsAfterFull),
            EpochEnd::Closing => Some(Self::EpochsAfterClosing),
            EpochEnd::WorkerLost => Some(Self::EpochsAfterLostWorker),
            EpochEnd::ReplicaLost => Some(Self::EpochsAfterLostReplica),
            // Damage on the way is TCP's to prevent; the simulated network damages nothing.
            EpochEnd::Damaged | EpochEnd::TurnedAway | EpochEnd::Other => None,
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&kebab(self))
    }
}

/// Counts what an event of the event log tells.
pub fn log(record: &Record, event: &Event) {
    match event {
        Event::ShufflePlaced(placed) if placed.copies > 1 => record.exercised(Feature::SecondCopies, 1),
        Event::ShuffleGrew(grew) => {
            for ended in &grew.reasons {
                if let Some(feature) = Feature::of_epoch(ended.why) {
                    record.exercised(feature, u64::from(ended.partitions));
                }
            }
        }
        Event::StageRunAgain(_) => record.exercised(Feature::StageReruns, 1),
        _ => {}
    }
}

/// Takes the metrics of all roles of one run.
#[derive(Debug)]
pub struct Meter(pub Arc<Record>);

impl Recorder for Meter {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let reason = key.labels().find(|label| label.key() == "reason").map(|label| label.value());
        match Feature::counted_as(key.name(), reason) {
            Some(feature) => Counter::from_arc(Arc::new(Count(Arc::clone(&self.0), feature))),
            None => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[derive(Debug)]
struct Count(Arc<Record>, Feature);

impl CounterFn for Count {
    fn increment(&self, times: u64) {
        self.0.exercised(self.1, times);
    }

    fn absolute(&self, _: u64) {}
}
