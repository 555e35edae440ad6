//! What the answers to a commit leave to read.
//!
//! In: what is known of each copy of each epoch, and what the winners wrote. Out: what readers get of each partition, or why
//! the shuffle is lost. Pure, and the same for whoever owns shuffles. The sources are complete or there are none: a location
//! that is not surely committed or empty is a loss, never fewer rows.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    ids::{Epoch, PartitionIndex},
    shuffle::{CommitVerdict, Location, PartitionSource, PartitionTotals},
};

/// Why a shuffle cannot be read although all its tasks have a winner: its producer has to run again under a new shuffle id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitLoss {
    #[error("partition {partition} epoch {epoch} is lost: {reason}")]
    Lost { partition: PartitionIndex, epoch: Epoch, reason: String },
    /// Nobody holds it, or whoever does says that it never got any.
    #[error("partition {partition} is empty where {batches} batches were acknowledged")]
    FalselyEmpty { partition: PartitionIndex, batches: u64 },
}

/// A copy of an epoch on one worker with what was said of it, if anything.
type Answered<'a> = (Location, Option<&'a CommitVerdict>);

/// One source for each of `totals`, in their order. Fails unless each epoch of each partition has a committed or proved-empty
/// copy (invariant 14). A partition into which no winner wrote has no locations: whatever is stored there belongs to attempts
/// that did not win.
pub fn sources<'a>(
    totals: impl IntoIterator<Item = (PartitionIndex, PartitionTotals)>,
    copies: impl IntoIterator<Item = Answered<'a>>,
) -> Result<Vec<PartitionSource>, CommitLoss> {
    let mut committed = committed(copies)?;
    let source = |(partition, totals)| {
        let locations = committed.remove(&partition).unwrap_or_default();
        source(partition, locations, totals)
    };
    totals.into_iter().map(source).collect()
}

fn source(
    partition: PartitionIndex,
    locations: Vec<Location>,
    totals: PartitionTotals,
) -> Result<PartitionSource, CommitLoss> {
    let locations = match (totals.batches, locations.is_empty()) {
        (0, _) => Vec::new(),
        (batches, true) => return Err(CommitLoss::FalselyEmpty { partition, batches }),
        (_, false) => locations,
    };
    Ok(PartitionSource { partition, locations, totals })
}

/// What is committed of each epoch, in ascending order.
fn committed<'a>(
    copies: impl IntoIterator<Item = Answered<'a>>,
) -> Result<BTreeMap<PartitionIndex, Vec<Location>>, CommitLoss> {
    let mut epochs: BTreeMap<(PartitionIndex, Epoch), Vec<Answered<'_>>> = BTreeMap::new();
    for copy in copies {
        epochs.entry((copy.0.partition, copy.0.epoch)).or_default().push(copy);
    }
    let mut committed: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for ((partition, epoch), copies) in epochs {
        // Acknowledged is what all copies have (invariant 1): what others have of such an epoch was written again elsewhere.
        if copies.iter().any(|(_, verdict)| *verdict == Some(&CommitVerdict::Empty)) {
            continue;
        }
        match readable(&copies) {
            Some(location) => committed.entry(partition).or_default().push(location),
            None => return Err(lost(partition, epoch, &copies)),
        }
    }
    Ok(committed)
}

/// What readers get of one epoch; none if no copy is committed. A copy whose worker did not answer comes last: nobody waited
/// for it, and it may be all that is left later.
fn readable(copies: &[Answered<'_>]) -> Option<Location> {
    let (mut committed, mut unanswered) = (Vec::new(), Vec::new());
    for (copy, verdict) in copies {
        match verdict {
            Some(CommitVerdict::Committed { .. }) => committed.push(copy),
            Some(CommitVerdict::Unanswered { .. }) => unanswered.push(copy),
            Some(CommitVerdict::Empty | CommitVerdict::Failed { .. }) | None => {}
        }
    }
    let (first, others) = committed.split_first()?;
    let second = others.first().or_else(|| unanswered.first());
    Some(Location {
        replica: second.map(|copy| Arc::clone(&copy.worker)),
        replica_unanswered: others.is_empty() && second.is_some(),
        ..(*first).clone()
    })
}

fn lost(partition: PartitionIndex, epoch: Epoch, copies: &[Answered<'_>]) -> CommitLoss {
    let reasons = copies.iter().filter_map(|(copy, verdict)| match verdict {
        Some(CommitVerdict::Failed { reason } | CommitVerdict::Unanswered { reason }) => Some(reason.clone()),
        Some(CommitVerdict::Committed { .. } | CommitVerdict::Empty) => None,
        None => Some(format!("worker {} gave no verdict", copy.worker.worker)),
    });
    CommitLoss::Lost { partition, epoch, reason: reasons.collect::<Vec<_>>().join("; ") }
}

#[cfg(test)]
mod tests;
