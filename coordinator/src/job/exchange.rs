//! From winners and verdicts to what readers may read.
//!
//! Every location that was handed out is asked about. Not here: what its copies' answers are worth, which is
//! [`penstock_protocol::commit`].

use std::{collections::HashMap, sync::Arc};

use penstock_protocol::{
    commit::{self, CommitLoss},
    ids::{AttemptNumber, PartitionIndex, TaskIndex},
    shuffle::{CommitVerdict, Location, MapOutput, PartitionTotals, ShuffleSource, ShuffleTarget, Winner},
};

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

/// Turns verdicts into sources. `totals[p]` belongs to partition `p`. What was reserved and has no verdict is lost.
pub fn sources(
    target: &ShuffleTarget,
    winners: Arc<[Winner]>,
    totals: &[PartitionTotals],
    verdicts: &[(Location, CommitVerdict)],
) -> Result<ShuffleSource, CommitLoss> {
    let answered: HashMap<_, _> = verdicts.iter().map(|(copy, verdict)| (copy, verdict)).collect();
    let copies = target.locations.iter().flat_map(Location::copies);
    let copies = copies.map(|copy| {
        let verdict = answered.get(&copy).copied();
        (copy, verdict)
    });
    let totals = (0..).map(PartitionIndex).zip(totals.iter().copied());
    Ok(ShuffleSource { shuffle: target.shuffle, winners, partitions: commit::sources(totals, copies)? })
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

    // Invariant 14: of each epoch that was ever handed out.
    #[test]
    fn what_was_reserved_and_has_no_verdict_is_lost() {
        let shuffle = ShuffleId { job: JobId(uuid::Uuid::nil()), exchange: StageId(0), run: 0 };
        let first = Location::on(PartitionIndex(0), Epoch(0), worker("a"));
        let second =
            Location { replica: Some(worker("c")), ..Location::on(PartitionIndex(0), Epoch(1), worker("b")) };
        let committed = CommitVerdict::Committed { stored_bytes: 1 };
        let said = |copies: &[Location]| -> Vec<_> {
            copies.iter().map(|copy| (copy.clone(), committed.clone())).collect()
        };
        let copies: Vec<_> = second.copies().collect();
        let target = ShuffleTarget { shuffle, locations: vec![first.clone(), second] };
        let totals = PartitionTotals { batches: 1, ..Default::default() };
        let read = |verdicts: &[_]| sources(&target, Arc::new([]), &[totals], verdicts);
        let source =
            read(&said(&[first.clone(), copies[1].clone()])).expect("one copy of each epoch is enough");
        assert_eq!(source.partitions[0].locations, [first, copies[1].clone()]);
        assert!(matches!(read(&said(&copies)), Err(CommitLoss::Lost { epoch: Epoch(0), .. })));
    }
}
