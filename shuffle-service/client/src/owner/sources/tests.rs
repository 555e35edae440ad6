use std::sync::Arc;

use penstock_protocol::{
    ids::{Incarnation, JobId, StageId},
    shuffle::WorkerAddress,
};
use uuid::Uuid;

use super::*;

fn shuffle() -> ShuffleId {
    ShuffleId { job: JobId(Uuid::from_u128(1)), exchange: StageId(0), run: 0 }
}

fn location(partition: u32, epoch: u32, worker: &str) -> Location {
    let worker = WorkerAddress {
        worker: worker.into(),
        incarnation: Incarnation(1),
        control: "c:1".into(),
        data: "d:1".into(),
    };
    Location::on(PartitionIndex(partition), Epoch(epoch), Arc::new(worker))
}

fn output(partition: u32, rows: u64) -> MapOutput {
    let totals = PartitionTotals { rows, bytes: rows * 8, batches: 1, checksum: rows };
    MapOutput { partitions: vec![(PartitionIndex(partition), totals)] }
}

fn failed(reason: &str) -> CommitVerdict {
    CommitVerdict::Failed { reason: reason.to_owned() }
}

const COMMITTED: CommitVerdict = CommitVerdict::Committed { stored_bytes: 10 };

#[test]
fn totals_of_all_winners_are_added_up_per_partition() {
    let verdicts = [
        (location(0, 0, "a"), COMMITTED),
        (location(1, 0, "b"), CommitVerdict::Empty),
        (location(2, 0, "b"), COMMITTED),
    ];
    let found = sources(shuffle(), &verdicts, &[output(0, 5), output(0, 7)]).expect("complete");
    assert_eq!(found[0].totals, PartitionTotals { rows: 12, bytes: 96, batches: 2, checksum: 12 });
    assert_eq!(found[0].locations, [location(0, 0, "a")]);
    // Proved empty, and committed with batches of losers only: both have nothing to read.
    assert_eq!(found[1].locations, []);
    assert_eq!(found[2].locations, []);
}

// Invariant 14: a stage is complete only when each epoch of each partition has a committed or proved-empty copy.
#[test]
fn a_partition_with_an_epoch_that_no_copy_committed_makes_the_shuffle_incomplete() {
    let verdicts = [
        (location(0, 0, "a"), COMMITTED),
        (location(0, 1, "a"), failed("disk")),
        (location(0, 1, "b"), failed("gone")),
    ];
    let error = sources(shuffle(), &verdicts, &[output(0, 5)]).expect_err("epoch 1 is lost");
    let expected = IncompleteError::Lost {
        shuffle: shuffle(),
        partition: PartitionIndex(0),
        epoch: Epoch(1),
        reason: "disk; gone".into(),
    };
    assert_eq!(error, expected);
}

// Invariant 14: even one into which no winner is known to have written.
#[test]
fn a_failed_location_is_never_taken_for_an_empty_one() {
    let verdicts = [(location(0, 0, "a"), failed("unknown"))];
    assert!(matches!(sources(shuffle(), &verdicts, &[]), Err(IncompleteError::Lost { .. })));
}

#[test]
fn one_committed_copy_of_an_epoch_is_enough() {
    let verdicts = [(location(0, 0, "a"), failed("gone")), (location(0, 0, "b"), COMMITTED)];
    let found = sources(shuffle(), &verdicts, &[output(0, 5)]).expect("complete");
    assert_eq!(found[0].locations, [location(0, 0, "b")]);
}

// Invariants 4 and 14: it does not count as a copy, and readers try it when the one that counts is gone.
#[test]
fn a_copy_without_an_answer_comes_last() {
    let unanswered = CommitVerdict::Unanswered { reason: "no sign of life".to_owned() };
    let verdicts = [(location(0, 0, "a"), unanswered.clone()), (location(0, 0, "b"), COMMITTED)];
    let found = sources(shuffle(), &verdicts, &[output(0, 5)]).expect("complete");
    let names: Vec<_> = found[0].locations[0].workers().map(|worker| worker.worker.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert!(found[0].locations[0].replica_unanswered);
    let verdicts = [(location(0, 0, "a"), unanswered), (location(0, 0, "b"), failed("gone"))];
    assert!(matches!(sources(shuffle(), &verdicts, &[output(0, 5)]), Err(IncompleteError::Lost { .. })));
}

#[test]
fn an_empty_verdict_against_acknowledged_batches_is_a_loss() {
    let verdicts = [(location(0, 0, "a"), CommitVerdict::Empty)];
    let error = sources(shuffle(), &verdicts, &[output(0, 5)]).expect_err("batches were acknowledged");
    assert!(matches!(error, IncompleteError::FalselyEmpty { batches: 1, .. }), "{error}");
}

#[test]
fn output_for_a_partition_without_location_is_an_error() {
    let verdicts = [(location(0, 0, "a"), COMMITTED)];
    let error = sources(shuffle(), &verdicts, &[output(3, 5)]).expect_err("no such partition");
    assert_eq!(error, IncompleteError::NoLocation { shuffle: shuffle(), partition: PartitionIndex(3) });
}
