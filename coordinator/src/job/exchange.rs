//! From winners and verdicts to what readers may read.
//!
//! The sources are complete or there are none: a location that is not surely committed or empty is a loss, never fewer
//! rows.

use std::{collections::BTreeMap, sync::Arc};

use penstock_protocol::{
    ids::{AttemptNumber, Epoch, PartitionIndex, TaskIndex},
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

/// Every epoch of every partition needs one copy that is committed or proved empty.
fn committed_locations(
    target: &ShuffleTarget,
    verdicts: &[(Location, CommitVerdict)],
) -> Result<BTreeMap<PartitionIndex, Vec<Location>>, CommitLoss> {
    let answered: std::collections::HashMap<_, _> =
        verdicts.iter().map(|(at, verdict)| (at, verdict)).collect();
    let mut losses: BTreeMap<(PartitionIndex, Epoch), CommitLoss> = BTreeMap::new();
    let mut proved = std::collections::BTreeSet::new();
    let mut committed: BTreeMap<PartitionIndex, Vec<Location>> = BTreeMap::new();
    for location in &target.locations {
        let copy = (location.partition, location.epoch);
        match answered.get(location) {
            Some(CommitVerdict::Committed { .. }) => {
                proved.insert(copy);
                committed.entry(location.partition).or_default().push(location.clone());
            }
            Some(CommitVerdict::Empty) => {
                proved.insert(copy);
            }
            Some(CommitVerdict::Failed { reason }) => {
                let location = Box::new(location.clone());
                losses.insert(copy, CommitLoss::Failed { location, reason: reason.clone() });
            }
            None => {
                losses.insert(copy, CommitLoss::NoVerdict { location: Box::new(location.clone()) });
            }
        }
    }
    match losses.into_iter().find(|(copy, _)| !proved.contains(copy)) {
        Some((_, loss)) => Err(loss),
        None => Ok(committed),
    }
}

/// The winners of tasks that pushed, by task.
pub fn winners(outputs: impl Iterator<Item = (TaskIndex, AttemptNumber)>) -> Arc<[Winner]> {
    outputs.map(|(map, attempt)| Winner { map, attempt }).collect()
}
