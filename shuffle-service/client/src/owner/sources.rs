//! From commit verdicts and winners' outputs to what readers get.

use std::collections::BTreeMap;

use penstock_protocol::{
    commit::{self, CommitLoss},
    ids::{PartitionIndex, ShuffleId},
    shuffle::{CommitVerdict, Location, MapOutput, PartitionSource, PartitionTotals},
};

/// A shuffle is not complete: its producer has to run again under a new shuffle id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shuffle {shuffle} is not complete")]
pub struct IncompleteError {
    pub shuffle: ShuffleId,
    #[source]
    pub loss: CommitLoss,
}

/// One source per partition, ascending: of those that have a location, and of those that were written to. As
/// [`commit::sources`] judges them.
pub fn sources<'a>(
    shuffle: ShuffleId,
    verdicts: &[(Location, CommitVerdict)],
    outputs: impl IntoIterator<Item = &'a MapOutput>,
) -> Result<Vec<PartitionSource>, IncompleteError> {
    let nothing = |(copy, _): &(Location, CommitVerdict)| (copy.partition, PartitionTotals::default());
    let mut totals: BTreeMap<PartitionIndex, PartitionTotals> = verdicts.iter().map(nothing).collect();
    for (partition, added) in outputs.into_iter().flat_map(|output| &output.partitions) {
        totals.entry(*partition).or_default().add(*added);
    }
    let copies = verdicts.iter().map(|(copy, verdict)| (copy.clone(), Some(verdict)));
    commit::sources(totals, copies).map_err(|loss| IncompleteError { shuffle, loss })
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

#[cfg(test)]
mod tests;
