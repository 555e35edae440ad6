//! Picks the batches of one partition that count, each once, and compares their sum with what their writers reported.

use std::collections::HashMap;

use penstock_protocol::{
    frame::BatchHeader,
    ids::{AttemptNumber, BatchId, TaskIndex},
    shuffle::{PartitionTotals, Winner},
};

/// One reader's view of one partition, over all its locations, retries and reopened streams (invariant 18).
#[derive(Debug)]
pub(crate) struct Selection {
    maps: HashMap<TaskIndex, Seen>,
    totals: PartitionTotals,
}

#[derive(Debug)]
struct Seen {
    winner: AttemptNumber,
    /// Writers send the batches of a map in ascending order, resend them in the same order, and leave an epoch for good
    /// when they begin the next one; both copies of an epoch hold them in the same order. So the first copies of a map's
    /// batches arrive ascending over all epochs, and everything not above the last one is a duplicate. If that were ever
    /// wrong, a batch would be missing from the totals, which is an error and never fewer rows.
    last: Option<BatchId>,
}

impl Selection {
    pub fn new(winners: &[Winner]) -> Self {
        let seen = |winner: &Winner| (winner.map, Seen { winner: winner.attempt, last: None });
        Self { maps: winners.iter().map(seen).collect(), totals: PartitionTotals::default() }
    }

    /// Whether a batch counts and comes for the first time.
    pub fn wants(&self, batch: &BatchHeader) -> bool {
        self.maps.get(&batch.map).is_some_and(|seen| {
            seen.winner == batch.attempt && seen.last.is_none_or(|last| batch.batch > last)
        })
    }

    /// Counts a batch that is wanted and whole; whether it was wanted.
    pub fn admit(&mut self, batch: &BatchHeader) -> bool {
        let wanted = self.wants(batch);
        if wanted {
            let seen = self.maps.get_mut(&batch.map).expect("it is wanted");
            seen.last = Some(batch.batch);
            self.totals.add(batch.totals());
        }
        wanted
    }

    /// What the admitted batches add up to.
    pub fn totals(&self) -> PartitionTotals {
        self.totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(map: u32, attempt: u32, batch: u32) -> BatchHeader {
        BatchHeader::of(TaskIndex(map), AttemptNumber(attempt), BatchId(batch), 1, &[1, 2, 3])
    }

    fn admitted(winners: &[(u32, u32)], batches: &[(u32, u32, u32)]) -> Vec<(u32, u32, u32)> {
        let winners: Vec<_> = winners
            .iter()
            .map(|(map, attempt)| Winner { map: TaskIndex(*map), attempt: AttemptNumber(*attempt) })
            .collect();
        let mut selection = Selection::new(&winners);
        let batches = batches.iter().copied();
        batches.filter(|(map, attempt, id)| selection.admit(&batch(*map, *attempt, *id))).collect()
    }

    // Invariant 3 of the feature list and invariant 12: losers and strangers never become visible.
    #[test]
    fn only_batches_of_winners_are_admitted() {
        let batches = [(0, 1, 0), (0, 2, 0), (1, 1, 0), (7, 1, 0), (0, 1, 1)];
        assert_eq!(admitted(&[(0, 2), (1, 1)], &batches), [(0, 2, 0), (1, 1, 0)]);
    }

    // Invariant 18.
    #[test]
    fn a_batch_that_was_stored_twice_is_admitted_once() {
        let batches = [(0, 0, 0), (0, 0, 3), (1, 0, 1), (0, 0, 0), (0, 0, 3), (0, 0, 4), (1, 0, 1)];
        assert_eq!(admitted(&[(0, 0), (1, 0)], &batches), [(0, 0, 0), (0, 0, 3), (1, 0, 1), (0, 0, 4)]);
    }

    // Invariant 23: whatever is skipped by mistake shows in the totals.
    #[test]
    fn totals_cover_exactly_the_admitted_batches() {
        let mut selection = Selection::new(&[Winner { map: TaskIndex(0), attempt: AttemptNumber(0) }]);
        let mut expected = PartitionTotals::default();
        for id in [0, 1, 1, 2] {
            selection.admit(&batch(0, 0, id));
        }
        for id in [0, 1, 2] {
            expected.add(batch(0, 0, id).totals());
        }
        assert_eq!(selection.totals(), expected);
        selection.admit(&batch(0, 0, 1));
        assert_eq!(selection.totals(), expected);
    }
}
