//! From commit verdicts and winners' outputs to what readers get.

use std::collections::BTreeMap;

use penstock_protocol::{
    ids::{Epoch, PartitionIndex, ShuffleId, WorkerId},
    shuffle::{CommitVerdict, Location, MapOutput, PartitionSource, PartitionTotals},
};

/// Why a shuffle is not complete: its producer has to run again under a new shuffle id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IncompleteError {
    #[error("partition {partition} epoch {epoch} of shuffle {shuffle} is lost: {reason}")]
    Lost { shuffle: ShuffleId, partition: PartitionIndex, epoch: Epoch, reason: String },
    /// Batches were acknowledged, and the worker says that it never got any.
    #[error(
        "worker {worker} says that partition {partition} of shuffle {shuffle} is empty, but {batches} batches were acknowledged"
    )]
    FalselyEmpty { shuffle: ShuffleId, partition: PartitionIndex, worker: WorkerId, batches: u64 },
    #[error("shuffle {shuffle} has no location for partition {partition}")]
    NoLocation { shuffle: ShuffleId, partition: PartitionIndex },
}

/// One source per partition, ascending. Fails unless each epoch of each partition has a committed or proved-empty copy
/// (invariant 14). A partition into which no winner wrote has no locations: nothing needs to be fetched.
pub fn sources<'a>(
    shuffle: ShuffleId,
    verdicts: &[(Location, CommitVerdict)],
    outputs: impl IntoIterator<Item = &'a MapOutput>,
) -> Result<Vec<PartitionSource>, IncompleteError> {
    let mut partitions: BTreeMap<PartitionIndex, Epochs<'_>> = BTreeMap::new();
    for (location, verdict) in verdicts {
        let epochs = partitions.entry(location.partition).or_default();
        epochs.entry(location.epoch).or_default().push((location, verdict));
    }
    let mut totals: BTreeMap<PartitionIndex, PartitionTotals> = BTreeMap::new();
    for (partition, added) in outputs.into_iter().flat_map(|output| &output.partitions) {
        totals.entry(*partition).or_default().add(*added);
    }
    if let Some(partition) = totals.keys().find(|partition| !partitions.contains_key(partition)) {
        return Err(IncompleteError::NoLocation { shuffle, partition: *partition });
    }
    let source = |(partition, epochs)| {
        source(shuffle, partition, epochs, totals.get(&partition).copied().unwrap_or_default())
    };
    partitions.into_iter().map(source).collect()
}

/// What the winners among `outputs` wrote into one partition, for a reader of those maps alone.
pub fn totals_of<'a>(
    partition: PartitionIndex,
    outputs: impl IntoIterator<Item = &'a MapOutput>,
) -> PartitionTotals {
    let mut totals = PartitionTotals::default();
    let written = outputs.into_iter().flat_map(|output| &output.partitions);
    written.filter(|(written, _)| *written == partition).for_each(|(_, added)| totals.add(*added));
    totals
}

/// The copies of each epoch of one partition.
type Epochs<'a> = BTreeMap<Epoch, Vec<(&'a Location, &'a CommitVerdict)>>;

fn source(
    shuffle: ShuffleId,
    partition: PartitionIndex,
    epochs: Epochs<'_>,
    totals: PartitionTotals,
) -> Result<PartitionSource, IncompleteError> {
    let mut locations = Vec::new();
    let mut empty = None;
    for (epoch, copies) in epochs {
        if let Some(location) = Location::readable(copies.iter().copied()) {
            locations.push(location);
            continue;
        }
        match copies.iter().find(|(_, verdict)| **verdict == CommitVerdict::Empty) {
            Some((location, _)) => empty = Some(*location),
            None => return Err(lost(shuffle, partition, epoch, &copies)),
        }
    }
    match empty {
        Some(location) if locations.is_empty() && totals.batches > 0 => Err(IncompleteError::FalselyEmpty {
            shuffle,
            partition,
            worker: location.worker.worker.clone(),
            batches: totals.batches,
        }),
        _ => {
            if totals.batches == 0 {
                locations.clear();
            }
            Ok(PartitionSource { partition, locations, totals })
        }
    }
}

fn lost(
    shuffle: ShuffleId,
    partition: PartitionIndex,
    epoch: Epoch,
    copies: &[(&Location, &CommitVerdict)],
) -> IncompleteError {
    let reasons = copies.iter().filter_map(|(_, verdict)| match verdict {
        CommitVerdict::Failed { reason } | CommitVerdict::Unanswered { reason } => Some(reason.as_str()),
        CommitVerdict::Committed { .. } | CommitVerdict::Empty => None,
    });
    IncompleteError::Lost { shuffle, partition, epoch, reason: reasons.collect::<Vec<_>>().join("; ") }
}

#[cfg(test)]
mod tests;
