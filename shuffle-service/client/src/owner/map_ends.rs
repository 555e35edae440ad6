//! The winners of one shuffle: for each map task the first attempt that ended, with what it wrote.

use std::sync::Arc;

use penstock_protocol::{
    ids::{AttemptNumber, TaskIndex},
    shuffle::{MapOutput, Winner},
};

/// Set once per map and never changed (invariant 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapEnds(Vec<Option<(AttemptNumber, MapOutput)>>);

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    Won,
    /// The winner's own report once more.
    Repeated,
    /// Another attempt was first.
    Late {
        winner: AttemptNumber,
    },
    /// The shuffle has no such map.
    Unknown,
}

impl MapEnds {
    pub fn new(maps: u32) -> Self {
        Self(vec![None; maps as usize])
    }

    /// Takes one attempt's report. Answered whatever it is; only the first one of a map counts.
    pub fn record(&mut self, map: TaskIndex, attempt: AttemptNumber, output: MapOutput) -> Recorded {
        match self.0.get_mut(map.0 as usize) {
            None => Recorded::Unknown,
            Some(Some((winner, _))) if *winner == attempt => Recorded::Repeated,
            Some(Some((winner, _))) => Recorded::Late { winner: *winner },
            Some(end @ None) => {
                *end = Some((attempt, output));
                Recorded::Won
            }
        }
    }

    /// The winners of all maps with their outputs; none while a map is missing.
    pub fn complete(&self) -> Option<(Arc<[Winner]>, Vec<&MapOutput>)> {
        let ends: Vec<_> = self
            .0
            .iter()
            .enumerate()
            .map(|(map, end)| end.as_ref().map(|end| (map, end)))
            .collect::<Option<_>>()?;
        let winner = |(map, end): &(usize, &(AttemptNumber, MapOutput))| Winner {
            map: TaskIndex(*map as u32),
            attempt: end.0,
        };
        Some((ends.iter().map(winner).collect(), ends.iter().map(|(_, end)| &end.1).collect()))
    }
}

#[cfg(test)]
mod tests {
    use penstock_protocol::{ids::PartitionIndex, shuffle::PartitionTotals};

    use super::*;

    fn output(rows: u64) -> MapOutput {
        MapOutput { partitions: vec![(PartitionIndex(0), PartitionTotals { rows, ..Default::default() })] }
    }

    // Invariant 9: a winner is set once, together with its checksums; later ends are answered and ignored.
    #[test]
    fn the_first_attempt_that_ends_wins_and_stays_the_winner() {
        let mut ends = MapEnds::new(2);
        assert_eq!(ends.record(TaskIndex(0), AttemptNumber(3), output(10)), Recorded::Won);
        assert_eq!(
            ends.record(TaskIndex(0), AttemptNumber(1), output(99)),
            Recorded::Late { winner: AttemptNumber(3) }
        );
        assert_eq!(ends.record(TaskIndex(0), AttemptNumber(3), output(99)), Recorded::Repeated);
        assert_eq!(ends.record(TaskIndex(5), AttemptNumber(0), output(1)), Recorded::Unknown);
        assert!(ends.complete().is_none());
        ends.record(TaskIndex(1), AttemptNumber(0), output(7));
        let (winners, outputs) = ends.complete().expect("both maps ended");
        let expected = [(0, 3), (1, 0)]
            .map(|(map, attempt)| Winner { map: TaskIndex(map), attempt: AttemptNumber(attempt) });
        assert_eq!(winners[..], expected);
        assert_eq!(outputs, [&output(10), &output(7)]);
    }

    // Invariant 11: attempts of one map never share a number, so an old one can only be late.
    #[test]
    fn an_attempt_of_an_earlier_life_of_the_coordinator_does_not_replace_the_winner() {
        let mut ends = MapEnds::new(1);
        ends.record(TaskIndex(0), AttemptNumber(7), output(1));
        assert_eq!(
            ends.record(TaskIndex(0), AttemptNumber(6), output(2)),
            Recorded::Late { winner: AttemptNumber(7) }
        );
    }
}
