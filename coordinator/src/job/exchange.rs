//! From winners and verdicts to what readers may read.
//!
//! The sources are complete or there are none: a location that is not surely committed or empty is a loss, never fewer
//! rows.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use penstock_protocol::{
    ids::{AttemptNumber, PartitionIndex, TaskIndex},
    shuffle::{
        CommitVerdict, Location, MapOutput, PartitionSource, PartitionTotals, ShuffleSource, ShuffleTarget,
        Winner,
    },
};

/// Why a shuffle cannot be read although all its tasks have a winner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitLoss {
    #[error("partition {} on worker {} failed to commit: {reason}", location.partition, location.worker.worker)]
    Failed { location: Box<Location>, reason: String },
    #[error("worker {} gave no verdict on partition {}", location.worker.worker, location.partition)]
    NoVerdict { location: Box<Location> },
    #[error("partition {partition} is empty where {batches} batches were acknowledged")]
    Missing { partition: PartitionIndex, batches: u64 },
}

/// Sums over the winners for each partition of the shuffle.
pub fn totals<'a>(partitions: u32, outputs: impl Iterator<Item = &'a MapOutput>) -> Vec<PartitionTotals> {
    let mut sums = vec![PartitionTotals::default(); partitions as usize];
    for (partition, totals) in outputs.flat_map(|output| &output.partitions) {
        sums[partition.0 as usize].add(*totals);
    }
    sums
}

/// Whether a report can be true: partitions ascend and are within the shuffle.
pub fn is_sound(output: &MapOutput, partitions: u32) -> bool {
    let ascending = output.partitions.is_sorted_by(|a, b| a.0 < b.0);
    ascending && output.partitions.last().is_none_or(|(last, _)| last.0 < partitions)
}

/// Turns verdicts into sources. `totals[p]` belongs to partition `p`.
pub fn sources(
    target: &ShuffleTarget,
    winners: Arc<[Winner]>,
    totals: &[PartitionTotals],
    verdicts: &[(Location, CommitVerdict)],
) -> Result<ShuffleSource, CommitLoss> {
    let committed = committed_locations(target, verdicts)?;
    let partitions = (0u32..).zip(totals);
    let partitions = partitions.map(|(index, totals)| {
        let partition = PartitionIndex(index);
        let locations = match totals.batches {
            // Whatever is stored there belongs to attempts that did not win.
            0 => Vec::new(),
            _ => committed.get(&partition).cloned().unwrap_or_default(),
        };
        if locations.is_empty() && totals.batches > 0 {
            return Err(CommitLoss::Missing { partition, batches: totals.batches });
        }
        Ok(PartitionSource { partition, locations, totals: *totals })
    });
    Ok(ShuffleSource { shuffle: target.shuffle, winners, partitions: partitions.collect::<Result<_, _>>()? })
}

/// Every epoch of every partition needs one copy that is committed or proved empty (invariant 14). What is committed of an
/// epoch becomes one location.
fn committed_locations(
    target: &ShuffleTarget,
    verdicts: &[(Location, CommitVerdict)],
) -> Result<BTreeMap<PartitionIndex, Vec<Location>>, CommitLoss> {
    let answered: HashMap<_, _> = verdicts.iter().map(|(copy, verdict)| (copy, verdict)).collect();
    let mut committed: BTreeMap<PartitionIndex, Vec<Location>> = BTreeMap::new();
    for location in &target.locations {
        if let Some(good) = committed_copies(location, &answered)? {
            committed.entry(location.partition).or_default().push(good);
        }
    }
    for epochs in committed.values_mut() {
        epochs.sort_by_key(|location| location.epoch);
    }
    Ok(committed)
}

/// The copies of one epoch that hold something; none if it is proved empty.
fn committed_copies(
    location: &Location,
    answered: &HashMap<&Location, &CommitVerdict>,
) -> Result<Option<Location>, CommitLoss> {
    let copies: Vec<_> = location.copies().collect();
    let verdicts = || copies.iter().filter_map(|copy| Some((copy, *answered.get(copy)?)));
    if let Some(readable) = Location::readable(verdicts()) {
        return Ok(Some(readable));
    }
    if verdicts().any(|(_, verdict)| *verdict == CommitVerdict::Empty) {
        return Ok(None);
    }
    let loss = |copy: &Location| match answered.get(copy) {
        Some(CommitVerdict::Failed { reason } | CommitVerdict::Unanswered { reason }) => {
            Some(CommitLoss::Failed { location: Box::new(copy.clone()), reason: reason.clone() })
        }
        Some(CommitVerdict::Committed { .. } | CommitVerdict::Empty) => None,
        None => Some(CommitLoss::NoVerdict { location: Box::new(copy.clone()) }),
    };
    copies.iter().find_map(loss).map_or(Ok(None), Err)
}

/// The winners of tasks that pushed, by task.
pub fn winners(outputs: impl Iterator<Item = (TaskIndex, AttemptNumber)>) -> Arc<[Winner]> {
    outputs.map(|(map, attempt)| Winner { map, attempt }).collect()
}

#[cfg(test)]
mod tests {
    use penstock_protocol::{
        ids::{Epoch, Incarnation, JobId, ShuffleId, StageId},
        shuffle::WorkerAddress,
    };

    use super::*;

    fn worker(name: &str) -> Arc<WorkerAddress> {
        let (control, data) = (String::new(), String::new());
        Arc::new(WorkerAddress { worker: name.into(), incarnation: Incarnation(1), control, data })
    }

    /// Partition 0 in epoch 0 on a and b and in epoch 1 on b and c; gives what readers get of it.
    fn read(verdicts: [CommitVerdict; 4]) -> Result<Vec<Location>, CommitLoss> {
        let shuffle = ShuffleId { job: JobId(uuid::Uuid::nil()), exchange: StageId(0), run: 0 };
        let location = |epoch, first, second| Location {
            replica: Some(worker(second)),
            ..Location::on(PartitionIndex(0), Epoch(epoch), worker(first))
        };
        let target = ShuffleTarget { shuffle, locations: vec![location(0, "a", "b"), location(1, "b", "c")] };
        let copies = target.locations.iter().flat_map(Location::copies);
        let verdicts: Vec<_> = copies.zip(verdicts).collect();
        let totals = PartitionTotals { batches: 1, ..Default::default() };
        let source = sources(&target, Arc::new([]), &[totals], &verdicts)?;
        Ok(source.partitions[0].locations.clone())
    }

    fn names(locations: &[Location]) -> String {
        let copies = |location: &Location| {
            location.workers().map(|worker| worker.worker.to_string()).collect::<Vec<_>>().join("+")
        };
        locations.iter().map(copies).collect::<Vec<_>>().join(" ")
    }

    const COMMITTED: CommitVerdict = CommitVerdict::Committed { stored_bytes: 1 };

    fn failed() -> CommitVerdict {
        CommitVerdict::Failed { reason: "gone".to_owned() }
    }

    // Invariant 14.
    #[test]
    fn each_epoch_needs_one_good_copy_and_readers_get_all_good_ones() {
        let read = |verdicts| read(verdicts).map(|locations| names(&locations));
        assert_eq!(read([COMMITTED, COMMITTED, COMMITTED, COMMITTED]), Ok("a+b b+c".to_owned()));
        assert_eq!(read([failed(), COMMITTED, COMMITTED, failed()]), Ok("b b".to_owned()));
        assert_eq!(read([COMMITTED, failed(), CommitVerdict::Empty, failed()]), Ok("a".to_owned()));
        assert!(matches!(read([COMMITTED, COMMITTED, failed(), failed()]), Err(CommitLoss::Failed { .. })));
    }
}
