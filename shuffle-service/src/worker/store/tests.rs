#![allow(clippy::unwrap_used)]

use std::time::Duration;

use penstock_common::{clock::Timestamp, lifecycle::Tasks};
use penstock_protocol::{
    frame::{BatchHeader, Push, PushHead, PushRecorder, PushVerdict, read_frame},
    ids::{AttemptNumber, BatchId, StageId, TaskIndex},
    shuffle::{CommitVerdict, Winner},
    token::JobToken,
};
use uuid::Uuid;

use super::*;
use crate::{
    disk::MemoryDisk,
    worker::{config::Config, memory::Share},
};

const PATIENCE: Duration = Duration::from_secs(30);
const LIFE: Incarnation = Incarnation(5);

fn store(locations_max: usize) -> Arc<Store> {
    let config = Config { locations_max, ..Config::default() };
    let disks = Disks::new(&config, &"w".into(), Arc::new(MemoryDisk::default()), Tasks::new("test"));
    let budget = Budget::new(&config);
    Arc::new(Store::new("w".into(), LIFE, budget, Arc::new(disks), None, Settings::new(config)))
}

fn shuffle(job: u128, run: u32) -> ShuffleId {
    ShuffleId { job: JobId(Uuid::from_u128(job)), exchange: StageId(0), run }
}

fn key(partition: u32) -> LocationKey {
    (PartitionIndex(partition), Epoch(0))
}

fn winner(map: u32, attempt: u32) -> Winner {
    Winner { map: TaskIndex(map), attempt: AttemptNumber(attempt) }
}

/// Pushes one batch for each of `partitions`; `damage` changes the body.
async fn push_to(
    store: &Store,
    life: Incarnation,
    id: ShuffleId,
    partitions: &[u32],
    damage: impl FnOnce(&mut Vec<u8>),
) -> Vec<PushVerdict> {
    let mut recorder = PushRecorder::default();
    for (index, partition) in partitions.iter().enumerate() {
        let header = BatchHeader::of(TaskIndex(0), AttemptNumber(0), BatchId(index as u32), 1, b"payload");
        recorder.add(PartitionIndex(*partition), Epoch(0), &header, "payload".into());
    }
    let frame = recorder
        .finish(PushHead { request: 0, incarnation: life, shuffle: id, token: JobToken::NONE })
        .concat();
    let frame = read_frame(&mut &frame[..], 1 << 20).await.unwrap().unwrap();
    let mut body = frame.body.to_vec();
    damage(&mut body);
    let charge = store.budget.take(Share::Clients, body.len(), PATIENCE).await.unwrap();
    store.push(Push::parse(body.into()).unwrap(), charge).verdicts().to_vec()
}

async fn push(store: &Store, id: ShuffleId, partitions: &[u32]) -> Vec<PushVerdict> {
    push_to(store, LIFE, id, partitions, |_| {}).await
}

fn refused(refusal: Refusal) -> PushVerdict {
    PushVerdict::Refused(refusal)
}

// Invariant 1, one copy: acknowledged means that an open writer has it.
#[tokio::test]
async fn each_batch_of_a_merged_push_has_its_own_verdict() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0), key(2)], Placement::default()).unwrap();
    assert_eq!(push(&store, shuffle(1, 0), &[0, 2]).await, []);
    let verdicts = push(&store, shuffle(1, 0), &[0, 1, 2]).await;
    assert_eq!(verdicts, [PushVerdict::Accepted, refused(Refusal::Unknown), PushVerdict::Accepted]);
    let verdicts = store.commit(shuffle(1, 0), &[key(0), key(2)], vec![winner(0, 0)], PATIENCE).await;
    let stored = CommitVerdict::Committed { stored_bytes: 2 * (28 + 7) };
    assert_eq!(verdicts, [(key(0), stored.clone()), (key(2), stored)]);
}

// Invariant 8: what was torn or changed on its way is not stored.
#[tokio::test]
async fn a_damaged_payload_is_refused_and_its_neighbours_are_not() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0), key(1)], Placement::default()).unwrap();
    let verdicts = push_to(&store, LIFE, shuffle(1, 0), &[0, 1], |body| *body.last_mut().unwrap() ^= 1).await;
    assert_eq!(verdicts, [PushVerdict::Accepted, refused(Refusal::Corrupt)]);
    let verdicts = store.commit(shuffle(1, 0), &[key(0), key(1)], vec![], PATIENCE).await;
    assert_eq!(verdicts[1], (key(1), CommitVerdict::Empty));
}

// Invariant 6: congestion is a wish; everything is accepted.
#[tokio::test(start_paused = true)]
async fn users_that_push_more_than_their_part_are_asked_for_less_while_memory_is_short() {
    let store = store(100);
    let (small, large) = (shuffle(1, 0), shuffle(2, 0));
    let keys = [key(0), key(1)];
    for id in [small, large] {
        store.reserve(id, &keys, Placement::default()).unwrap();
        store.jobs_known.set_user(id.job, &format!("owner of {}", id.job));
    }
    let nearly_all = usize::try_from(store.budget.bytes_max()).unwrap() / 100 * 74;
    let _held = store.budget.take(Share::Clients, nearly_all, PATIENCE).await.unwrap();
    push(&store, small, &[0]).await;
    for _ in 0..3 {
        push(&store, large, &[0, 1]).await;
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(push(&store, small, &[0]).await, []);
    assert_eq!(push(&store, large, &[0, 1]).await, [PushVerdict::Congested, PushVerdict::Accepted]);
    let verdicts = store.commit(large, &keys, vec![], PATIENCE).await;
    let stored = CommitVerdict::Committed { stored_bytes: 4 * (28 + 7) };
    assert_eq!(verdicts, [(key(0), stored.clone()), (key(1), stored)]);
}

// Invariant 16: a restarted worker never answers for its former life.
#[tokio::test]
async fn a_push_for_a_former_life_is_refused() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0)], Placement::default()).unwrap();
    let verdicts = push_to(&store, Incarnation(4), shuffle(1, 0), &[0], |_| {}).await;
    assert_eq!(verdicts, [refused(Refusal::OtherIncarnation)]);
}

// Invariants 5 and 12: late pushes after the end of a stage never become visible, and the same commit gets the same answer.
#[tokio::test]
async fn a_push_after_the_commit_changes_nothing() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0), key(1)], Placement::default()).unwrap();
    push(&store, shuffle(1, 0), &[0]).await;
    let keys = [key(0), key(1)];
    let first = store.commit(shuffle(1, 0), &keys, vec![winner(0, 0)], PATIENCE).await;
    let verdicts = push(&store, shuffle(1, 0), &[0, 1]).await;
    assert_eq!(verdicts, [refused(Refusal::Closed); 2]);
    assert_eq!(store.commit(shuffle(1, 0), &keys, vec![winner(0, 0)], PATIENCE).await, first);
    assert_eq!(first[1].1, CommitVerdict::Empty);
}

// Invariant 4: unknown is failed, and every location asked for is in the answer.
#[tokio::test]
async fn a_commit_answers_for_every_location_asked() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0)], Placement::default()).unwrap();
    let verdicts = store.commit(shuffle(1, 0), &[key(7), key(0)], vec![], PATIENCE).await;
    assert!(matches!(verdicts[..], [(k7, CommitVerdict::Failed { .. }), (k0, CommitVerdict::Empty)]
        if k7 == key(7) && k0 == key(0)));
    let verdicts = store.commit(shuffle(9, 0), &[key(0)], vec![], PATIENCE).await;
    assert!(matches!(verdicts[..], [(_, CommitVerdict::Failed { .. })]));
}

// Invariant 9: winners are set once.
#[tokio::test]
async fn a_commit_with_other_winners_fails_and_changes_nothing() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0)], Placement::default()).unwrap();
    push(&store, shuffle(1, 0), &[0]).await;
    let first = store.commit(shuffle(1, 0), &[key(0)], vec![winner(0, 0)], PATIENCE).await;
    let other = store.commit(shuffle(1, 0), &[key(0)], vec![winner(0, 1)], PATIENCE).await;
    assert!(matches!(other[..], [(_, CommitVerdict::Failed { .. })]));
    assert_eq!(store.commit(shuffle(1, 0), &[key(0)], vec![winner(0, 0)], PATIENCE).await, first);
}

// Invariants 11 and 24: runs of an exchange do not mix.
#[tokio::test]
async fn a_batch_of_an_earlier_run_does_not_reach_the_next_one() {
    let store = store(100);
    store.reserve(shuffle(1, 1), &[key(0)], Placement::default()).unwrap();
    assert_eq!(push(&store, shuffle(1, 0), &[0]).await, [refused(Refusal::Unknown)]);
    let verdicts = store.commit(shuffle(1, 1), &[key(0)], vec![], PATIENCE).await;
    assert_eq!(verdicts, [(key(0), CommitVerdict::Empty)]);
}

// Invariant 22: empty, unknown and expired are three answers.
#[tokio::test]
async fn released_jobs_are_expired_and_others_unknown() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0)], Placement::default()).unwrap();
    assert!(store.location(LIFE, shuffle(1, 0), key(0)).is_ok());
    assert_eq!(store.location(LIFE, shuffle(1, 0), key(1)).unwrap_err(), Refusal::Unknown);
    assert_eq!(store.location(LIFE, shuffle(2, 0), key(0)).unwrap_err(), Refusal::Unknown);
    store.release_job(shuffle(1, 0).job).await;
    assert_eq!(store.location(LIFE, shuffle(1, 0), key(0)).unwrap_err(), Refusal::Expired);
    assert_eq!(push(&store, shuffle(1, 0), &[0]).await, [refused(Refusal::Expired)]);
    assert_eq!(
        store.reserve(shuffle(1, 1), &[key(0)], Placement::default()).unwrap_err().code,
        ErrorCode::Conflict
    );
    assert!(store.jobs().is_empty());
}

// Invariant 15: a failed reservation is destroyed, and the same shuffle may be placed again.
#[tokio::test]
async fn a_reservation_is_all_or_nothing_and_may_be_repeated() {
    let store = store(3);
    assert_eq!(
        store.reserve(shuffle(1, 0), &[0, 1, 2, 3].map(key), Placement::default()).unwrap_err().code,
        ErrorCode::NoRoom
    );
    assert_eq!(store.locations(), 0);
    store.reserve(shuffle(1, 0), &[key(0), key(1)], Placement::default()).unwrap();
    store.release_shuffle(shuffle(1, 0)).await;
    assert_eq!(store.locations(), 0);
    store.reserve(shuffle(1, 0), &[key(0)], Placement::default()).unwrap();
    push(&store, shuffle(1, 0), &[0]).await;
    store.release_shuffle(shuffle(1, 0)).await;
    assert_eq!(
        store.reserve(shuffle(1, 0), &[key(0)], Placement::default()).unwrap_err().code,
        ErrorCode::Conflict
    );
}

// Invariant 27: every path gives its memory back.
#[tokio::test]
async fn refused_and_released_batches_hold_no_memory() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0)], Placement::default()).unwrap();
    push(&store, shuffle(1, 0), &[0, 1]).await;
    assert_eq!(store.budget.used(), 28 + 7);
    push(&store, shuffle(2, 0), &[0, 1]).await;
    push_to(&store, Incarnation(1), shuffle(1, 0), &[0], |_| {}).await;
    assert_eq!(store.budget.used(), 28 + 7);
    store.release_job(shuffle(1, 0).job).await;
    assert_eq!(store.budget.used(), 0);
}

// Invariant 17: an early commit and the final one never lose a location between them.
#[tokio::test]
async fn a_location_that_was_committed_early_has_the_same_verdict_in_the_end() {
    let store = store(100);
    let second = (PartitionIndex(0), Epoch(1));
    store.reserve(shuffle(1, 0), &[key(0), second], Placement::default()).unwrap();
    push(&store, shuffle(1, 0), &[0]).await;
    let early = store.commit_early(shuffle(1, 0), &[key(0)], PATIENCE).await;
    assert_eq!(push(&store, shuffle(1, 0), &[0]).await, [refused(Refusal::Closed)]);
    let all = store.commit(shuffle(1, 0), &[key(0), second], vec![winner(0, 0)], PATIENCE).await;
    assert_eq!(all, [early[0].clone(), (second, CommitVerdict::Empty)]);
}

// Invariant 15: what was reserved for a copy that came to nothing is destroyed, and its neighbours stay.
#[tokio::test]
async fn locations_are_released_as_if_they_had_not_been_reserved() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0), key(1)], Placement::default()).unwrap();
    store.release_locations(shuffle(1, 0), &[key(1)]).await;
    assert_eq!(
        push(&store, shuffle(1, 0), &[0, 1]).await,
        [PushVerdict::Accepted, refused(Refusal::Unknown)]
    );
    store.reserve(shuffle(1, 0), &[key(1)], Placement::default()).unwrap();
    assert_eq!(push(&store, shuffle(1, 0), &[1]).await, []);
}

#[tokio::test]
async fn a_worker_that_leaves_takes_nothing_more_and_still_commits() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0)], Placement::default()).unwrap();
    push(&store, shuffle(1, 0), &[0]).await;
    store.standing.set_stopping();
    assert_eq!(push(&store, shuffle(1, 0), &[0]).await, [refused(Refusal::Stopping)]);
    assert_eq!(
        store.reserve(shuffle(1, 1), &[key(0)], Placement::default()).unwrap_err().code,
        ErrorCode::NoRoom
    );
    let verdicts = store.commit(shuffle(1, 0), &[key(0)], vec![], PATIENCE).await;
    assert!(matches!(verdicts[..], [(_, CommitVerdict::Committed { .. })]));
}

// Invariant 6: a refusal is final for its epoch, so that the batches of one map keep their order.
#[tokio::test]
async fn what_was_refused_while_it_drained_or_was_over_quota_is_refused_when_that_has_passed() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0), key(1), key(2)], Placement::default()).unwrap();
    store.standing.order(Timestamp::from_millis(0), true);
    assert_eq!(push(&store, shuffle(1, 0), &[0]).await, [refused(Refusal::Stopping)]);
    store.standing.order(Timestamp::from_millis(0), false);
    store.jobs_known.set_over_quota(BTreeSet::from([shuffle(1, 0).job]));
    assert_eq!(push(&store, shuffle(1, 0), &[1]).await, [refused(Refusal::OverQuota)]);
    store.jobs_known.set_over_quota(BTreeSet::new());
    let verdicts = push(&store, shuffle(1, 0), &[0, 1, 2]).await;
    let (stopping, over_quota) = (refused(Refusal::Stopping), refused(Refusal::OverQuota));
    assert_eq!(verdicts, [stopping, over_quota, PushVerdict::Accepted]);
}

// Invariant 29: a quota refuses before anything is taken; what was accepted before it was used up stays.
#[tokio::test]
async fn a_job_that_is_over_its_quota_is_refused_before_anything_of_it_is_taken() {
    let store = store(100);
    store.reserve(shuffle(1, 0), &[key(0), key(1)], Placement::default()).unwrap();
    assert_eq!(push(&store, shuffle(1, 0), &[0]).await, []);
    store.jobs_known.set_over_quota(BTreeSet::from([shuffle(1, 0).job]));
    assert_eq!(push(&store, shuffle(1, 0), &[0, 1]).await, [refused(Refusal::OverQuota); 2]);
    assert_eq!(store.budget.used(), 28 + 7);
    let verdicts = store.commit(shuffle(1, 0), &[key(0), key(1)], vec![], PATIENCE).await;
    let stored = CommitVerdict::Committed { stored_bytes: 28 + 7 };
    assert_eq!(verdicts, [(key(0), stored), (key(1), CommitVerdict::Empty)]);
}

// Invariant 15: what a failed placement left behind, and what of it comes late, does not decide where the next one sends its
// second copies.
#[tokio::test]
async fn an_untouched_location_is_reserved_anew_by_later_placements_alone() {
    let store = store(100);
    let (old, _old_end) = crate::worker::link::Link::for_test();
    let (new, _new_end) = crate::worker::link::Link::for_test();
    let reserve = |number, replica| {
        let placement = Placement { number, replica: Some(replica) };
        store.reserve(shuffle(1, 0), &[key(0)], placement).unwrap();
    };
    let is_new = || {
        let location = store.location(LIFE, shuffle(1, 0), key(0)).unwrap();
        location.replica().is_some_and(|link| Arc::ptr_eq(link, &new))
    };
    reserve(7, &old);
    reserve(8, &new);
    assert!(is_new());
    reserve(7, &old);
    assert!(is_new(), "the other one came late");
    reserve(8, &new);
    assert!(is_new(), "it is its own");
    push(&store, shuffle(1, 0), &[0]).await;
    reserve(9, &old);
    assert!(is_new(), "it was written to");
}
