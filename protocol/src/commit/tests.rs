#![allow(clippy::unwrap_used)]

use super::*;
use crate::{ids::Incarnation, shuffle::WorkerAddress};

const COMMITTED: CommitVerdict = CommitVerdict::Committed { stored_bytes: 10 };

fn copy(partition: u32, epoch: u32, worker: &str) -> Location {
    let (control, data) = (String::new(), String::new());
    let worker = WorkerAddress { worker: worker.into(), incarnation: Incarnation(1), control, data };
    Location::on(PartitionIndex(partition), Epoch(epoch), Arc::new(worker))
}

fn failed(reason: &str) -> CommitVerdict {
    CommitVerdict::Failed { reason: reason.to_owned() }
}

fn unanswered() -> CommitVerdict {
    CommitVerdict::Unanswered { reason: "no sign of life".to_owned() }
}

/// What readers get of each partition, with a winner that wrote so many batches into it.
fn read(batches: &[u64], said: &[(Location, CommitVerdict)]) -> Result<Vec<Vec<Location>>, CommitLoss> {
    let totals = |batches: &u64| PartitionTotals { batches: *batches, ..PartitionTotals::default() };
    let totals = (0..).map(PartitionIndex).zip(batches.iter().map(totals));
    let copies = said.iter().map(|(copy, verdict)| (copy.clone(), Some(verdict)));
    Ok(sources(totals, copies)?.into_iter().map(|source| source.locations).collect())
}

/// Of one partition, as names of workers, epoch by epoch; `?` marks one that gave no answer.
fn names(said: &[(Location, CommitVerdict)]) -> Result<String, CommitLoss> {
    let names = |location: &Location| {
        let workers: Vec<_> = location.workers().map(|worker| worker.worker.as_str()).collect();
        workers.join("+") + if location.replica_unanswered { "?" } else { "" }
    };
    Ok(read(&[1], said)?.remove(0).iter().map(names).collect::<Vec<_>>().join(" "))
}

// Invariant 14.
#[test]
fn each_epoch_needs_one_good_copy_and_readers_get_all_good_ones() {
    // Epoch 0 on a and b, epoch 1 on b and c.
    let of = |verdicts: [CommitVerdict; 4]| {
        let copies = [copy(0, 1, "b"), copy(0, 1, "c"), copy(0, 0, "a"), copy(0, 0, "b")];
        let [first_a, first_b, second_b, second_c] = verdicts;
        names(&copies.into_iter().zip([second_b, second_c, first_a, first_b]).collect::<Vec<_>>())
    };
    assert_eq!(of([COMMITTED, COMMITTED, COMMITTED, COMMITTED]).unwrap(), "a+b b+c");
    assert_eq!(of([failed("gone"), COMMITTED, COMMITTED, failed("gone")]).unwrap(), "b b");
    assert_eq!(of([COMMITTED, failed("gone"), CommitVerdict::Empty, failed("gone")]).unwrap(), "a");
    let error = of([COMMITTED, COMMITTED, failed("disk"), failed("gone")]).unwrap_err();
    assert_eq!(error.to_string(), "partition 0 epoch 1 is lost: disk; gone");
}

// Invariant 14: even one into which no winner is known to have written.
#[test]
fn a_failed_location_is_never_taken_for_an_empty_one() {
    let said = [(copy(0, 0, "a"), failed("unknown"))];
    assert!(matches!(read(&[0], &said), Err(CommitLoss::Lost { .. })));
}

// Invariants 4 and 14: it does not count as a copy, and readers try it when the one that counts is gone.
#[test]
fn a_copy_without_an_answer_comes_last() {
    assert_eq!(names(&[(copy(0, 0, "a"), unanswered()), (copy(0, 0, "b"), COMMITTED)]).unwrap(), "b+a?");
    let alone = names(&[(copy(0, 0, "a"), unanswered()), (copy(0, 0, "b"), failed("gone"))]);
    assert!(matches!(alone, Err(CommitLoss::Lost { .. })));
}

// Invariant 4: what nobody speaks of is lost.
#[test]
fn a_copy_without_a_verdict_promises_nothing() {
    let error = sources([], [(copy(0, 0, "a"), None)]).unwrap_err();
    assert_eq!(error.to_string(), "partition 0 epoch 0 is lost: worker a gave no verdict");
}

#[test]
fn what_is_proved_empty_or_belongs_to_losers_alone_is_not_read() {
    let said = [(copy(0, 0, "a"), CommitVerdict::Empty), (copy(1, 0, "a"), COMMITTED)];
    assert_eq!(read(&[0, 0], &said).unwrap(), [vec![], vec![]]);
}

// Invariant 1: what only one copy has was not acknowledged, and is not worth a stage if that copy is lost.
#[test]
fn an_epoch_of_which_one_copy_is_empty_is_not_read_from_the_other() {
    let said = [(copy(0, 0, "a"), COMMITTED), (copy(0, 0, "b"), CommitVerdict::Empty)];
    let rest = [(copy(0, 1, "c"), COMMITTED)];
    assert_eq!(names(&[&said[..], &rest[..]].concat()).unwrap(), "c");
}

#[test]
fn acknowledged_batches_that_nobody_has_are_a_loss() {
    for said in [vec![(copy(0, 0, "a"), CommitVerdict::Empty)], vec![]] {
        let lost = CommitLoss::FalselyEmpty { partition: PartitionIndex(0), batches: 5 };
        assert_eq!(read(&[5], &said), Err(lost));
    }
}
