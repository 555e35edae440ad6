#![allow(clippy::unwrap_used)]

use std::time::Duration;

use penstock_protocol::shuffle::CommitVerdict;
use proptest::prelude::*;

use super::*;
use crate::worker::{config::Config, memory::Share};

const PATIENCE: Duration = Duration::from_secs(30);

fn budget() -> Arc<Budget> {
    Budget::new(&Config::default())
}

const LIFE: Incarnation = Incarnation(5);

fn location() -> Location {
    Location::new(&budget(), LIFE)
}

fn file(name: &str) -> Place {
    Place::Disk { disk: 0, file: name.into() }
}

fn append(location: &Location, bytes: &'static [u8]) -> Result<(), Refusal> {
    location.append(Bytes::from_static(bytes), Charge::none(&budget())).map(drop)
}

fn written() -> Result<Stored, (Refusal, String)> {
    Ok(Stored { place: file("file"), crc32c: 0, synced: false })
}

fn disk_full() -> Result<Stored, (Refusal, String)> {
    Err((Refusal::NoRoom, "disk full".to_owned()))
}

fn begin(location: &Location) -> Option<Write> {
    match location.begin_write(u64::MAX, |_| Some(file("file"))) {
        Begin::Write(write) => Some(write),
        Begin::Nothing | Begin::NoPlace => None,
    }
}

fn write(location: &Location) -> Write {
    begin(location).expect("something to write")
}

// Invariants 2, 5 and 12: nothing is accepted after the verdict, which stays the same.
#[tokio::test]
async fn a_batch_that_comes_after_the_commit_is_refused() {
    let location = location();
    append(&location, b"abc").unwrap();
    assert_eq!(location.commit(PATIENCE).await, CommitVerdict::Committed { stored_bytes: 3 });
    assert_eq!(append(&location, b"late"), Err(Refusal::Closed));
    assert_eq!(location.commit(PATIENCE).await, CommitVerdict::Committed { stored_bytes: 3 });
}

#[tokio::test]
async fn a_location_that_never_got_a_batch_is_proved_empty() {
    let location = location();
    assert_eq!(location.commit(PATIENCE).await, CommitVerdict::Empty);
    assert_eq!(append(&location, b"late"), Err(Refusal::Closed));
    assert_eq!(location.commit(PATIENCE).await, CommitVerdict::Empty);
    assert!(matches!(location.chunk(0, 10), Ok(Chunk::End)));
}

// Invariant 3: a writer that ever had a write error never commits.
#[tokio::test]
async fn a_location_with_a_failed_write_never_commits() {
    let location = location();
    append(&location, b"abc").unwrap();
    write(&location);
    assert_eq!(location.end_write(disk_full()), Written::Freed);
    assert_eq!(append(&location, b"more"), Err(Refusal::NoRoom));
    for _ in 0..2 {
        assert_eq!(location.commit(PATIENCE).await, CommitVerdict::Failed { reason: "disk full".into() });
    }
    assert!(matches!(location.chunk(0, 10), Err(Refusal::Broken)));
}

// Invariants 2 and 3: the verdict waits for a write in progress and counts its error.
#[tokio::test]
async fn a_commit_waits_for_the_write_in_progress() {
    for (outcome, expected) in [
        (written(), CommitVerdict::Committed { stored_bytes: 3 }),
        (disk_full(), CommitVerdict::Failed { reason: "disk full".into() }),
    ] {
        let location = location();
        append(&location, b"abc").unwrap();
        write(&location);
        let end = async {
            assert_eq!(append(&location, b"late"), Err(Refusal::Closed));
            location.end_write(outcome)
        };
        let (verdict, _) = tokio::join!(biased; location.commit(PATIENCE), end);
        assert_eq!(verdict, expected);
    }
}

// Invariant 4: timed out is failed, an answer always comes, and it stays the answer.
#[tokio::test(start_paused = true)]
async fn a_commit_fails_when_a_write_does_not_end_in_time() {
    let location = location();
    append(&location, b"abc").unwrap();
    write(&location);
    let failed = CommitVerdict::Failed { reason: "a write did not end in time".into() };
    assert_eq!(location.commit(PATIENCE).await, failed);
    location.end_write(written());
    assert_eq!(location.commit(PATIENCE).await, failed);
}

// Invariant 5: what was committed stays so, whatever goes wrong afterwards.
#[tokio::test]
async fn committed_data_survives_a_disk_that_takes_nothing() {
    let location = location();
    append(&location, b"abc").unwrap();
    location.commit(PATIENCE).await;
    write(&location);
    assert_eq!(location.end_write(disk_full()), Written::Kept);
    let Ok(Chunk::Memory { pieces, bytes: 3 }) = location.chunk(0, 10) else { panic!("still in memory") };
    assert_eq!(pieces, [&b"abc"[..]]);
    assert_eq!(location.commit(PATIENCE).await, CommitVerdict::Committed { stored_bytes: 3 });
}

// Invariant 22: released is not empty.
#[tokio::test]
async fn a_released_location_answers_expired() {
    let location = location();
    append(&location, b"abc").unwrap();
    location.commit(PATIENCE).await;
    location.release().await;
    assert!(matches!(location.chunk(0, 10), Err(Refusal::Expired)));
    assert!(matches!(location.chunk(3, 10), Err(Refusal::Expired)));
    assert_eq!(append(&location, b"late"), Err(Refusal::Expired));
}

#[tokio::test]
async fn a_release_waits_for_the_write_that_could_bring_the_file_back() {
    let location = location();
    append(&location, b"abc").unwrap();
    write(&location);
    let mut release = std::pin::pin!(location.release());
    assert!(futures::poll!(&mut release).is_pending());
    location.end_write(written());
    release.await;
}

#[test]
fn an_open_location_is_not_read() {
    let location = location();
    append(&location, b"abc").unwrap();
    assert!(matches!(location.chunk(0, 10), Err(Refusal::Open)));
}

// Invariant 27.
#[tokio::test]
async fn memory_is_given_back_when_data_is_written_or_dropped() {
    let budget = budget();
    let location = Location::new(&budget, LIFE);
    for _ in 0..2 {
        let charge = budget.take(Share::Clients, 100, PATIENCE).await.unwrap();
        location.append(Bytes::from(vec![0; 100]), charge).unwrap();
    }
    write(&location);
    let charge = budget.take(Share::Clients, 50, PATIENCE).await.unwrap();
    location.append(Bytes::from(vec![0; 50]), charge).unwrap();
    location.end_write(written());
    assert_eq!(budget.used(), 50);
    write(&location);
    location.end_write(disk_full());
    assert_eq!(budget.used(), 0);
}

// Invariant 2, in threads: a batch is accepted exactly if the verdict covers it.
#[test]
fn every_accepted_batch_is_covered_by_the_verdict_when_pushes_race_with_the_commit() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for _ in 0..200 {
        let location = location();
        let accepted: u64 = std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| (0..50).filter(|_| append(&location, b"x").is_ok()).count() as u64))
                .collect();
            let verdict = runtime.block_on(location.commit(PATIENCE));
            let accepted = pushers.into_iter().map(|pusher| pusher.join().unwrap()).sum();
            let expected = match accepted {
                0 => CommitVerdict::Empty,
                stored_bytes => CommitVerdict::Committed { stored_bytes },
            };
            assert_eq!(verdict, expected);
            accepted
        });
        assert!(accepted <= 150);
    }
}

#[tokio::test]
async fn parts_in_several_places_are_read_as_one() {
    let location = location();
    for (place, bytes) in [("a", "one"), ("a", "two"), ("b", "three"), ("a", "four")] {
        append(&location, bytes.as_bytes()).unwrap();
        let Begin::Write(write) = location.begin_write(u64::MAX, |new| {
            assert_eq!(new.bytes, bytes.len() as u64);
            Some(file(place))
        }) else {
            panic!("something to write")
        };
        location.end_write(Ok(Stored { place: write.place, crc32c: 7, synced: false }));
    }
    location.commit(PATIENCE).await;
    let mut found = Vec::new();
    let mut offset = 0;
    while let Ok(Chunk::Stored { place, offset: inside, available }) = location.chunk(offset, 1) {
        found.push((place, inside, available));
        offset += available;
    }
    assert_eq!(found, [(file("a"), 0, 6), (file("b"), 0, 5), (file("a"), 0, 4)]);
    // In the middle of a part.
    let Ok(Chunk::Stored { place, offset: 3, available: 3 }) = location.chunk(3, 1) else { panic!("stored") };
    assert_eq!(place, file("a"));
}

#[tokio::test]
async fn a_write_takes_the_first_records_up_to_its_size_and_an_object_all_of_them() {
    let location = location();
    for bytes in ["one", "two", "three", "four"] {
        append(&location, bytes.as_bytes()).unwrap();
    }
    let Begin::Write(first) = location.begin_write(4, |new| {
        assert_eq!(new.bytes, 6);
        Some(file("file"))
    }) else {
        panic!("something to write")
    };
    assert_eq!((first.offset, first.bytes, first.pieces.concat()), (0, 6, b"onetwo".to_vec()));
    location.end_write(written());
    let object = || Place::Object { key: "object".to_owned() };
    let Begin::Write(rest) = location.begin_write(1, |_| Some(object())) else {
        panic!("something to write")
    };
    assert_eq!((rest.offset, rest.bytes, rest.pieces.concat()), (0, 9, b"threefour".to_vec()));
    location.end_write(Ok(Stored { place: object(), crc32c: 0, synced: true }));
    assert_eq!(location.commit(PATIENCE).await, CommitVerdict::Committed { stored_bytes: 15 });
    assert!(!location.has_memory());
}

#[tokio::test]
async fn what_no_place_takes_stays_in_memory() {
    let location = location();
    append(&location, b"abc").unwrap();
    assert!(matches!(location.begin_write(u64::MAX, |_| None), Begin::NoPlace));
    assert_eq!(location.commit(PATIENCE).await, CommitVerdict::Committed { stored_bytes: 3 });
    assert!(matches!(location.chunk(0, 10), Ok(Chunk::Memory { bytes: 3, .. })));
}

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    BeginWrite,
    EndWrite(bool),
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u8..20).prop_map(Step::Append),
        2 => Just(Step::BeginWrite),
        2 => prop::bool::weighted(0.9).prop_map(Step::EndWrite),
        1 => Just(Step::Commit),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    // Invariants 2, 3 and 5 over all orders of pushes, writes and commits, the disk being a plain buffer.
    #[test]
    fn what_is_read_after_a_commit_is_what_was_accepted_before_it(steps in steps()) {
        let location = location();
        let (mut accepted, mut disk, mut write, mut failed) = (Vec::new(), Vec::new(), None::<Write>, false);
        let mut verdict = None;
        for (index, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append(length) => {
                    let bytes = vec![index as u8; length.into()];
                    let taken = location.append(bytes.clone().into(), Charge::none(&budget()));
                    prop_assert_eq!(taken.is_ok(), verdict.is_none() && !failed);
                    if taken.is_ok() { accepted.extend(bytes); }
                }
                Step::BeginWrite => write = write.or_else(|| begin(&location)),
                Step::EndWrite(ok) => if let Some(write) = write.take() {
                    if ok {
                        disk.truncate(write.offset as usize);
                        disk.extend(write.pieces.concat());
                        location.end_write(written());
                    } else {
                        failed |= location.end_write(disk_full()) == Written::Freed;
                    }
                },
                Step::Commit if write.is_none() => {
                    let now = location.state().try_commit().expect("no write is in progress");
                    if let Some(before) = verdict.replace(now.clone()) { prop_assert_eq!(before, now); }
                }
                Step::Commit => {}
            }
        }
        if matches!(verdict, Some(CommitVerdict::Committed { .. } | CommitVerdict::Empty)) {
            prop_assert!(!failed);
            let mut read = Vec::new();
            loop {
                match location.chunk(read.len() as u64, 16).unwrap() {
                    Chunk::Memory { pieces, .. } => read.extend(pieces.concat()),
                    Chunk::Stored { offset, available, .. } => {
                        let start = offset as usize;
                        read.extend(disk[start..start + available as usize].to_vec());
                    }
                    Chunk::End => break,
                }
            }
            prop_assert_eq!(read, accepted);
        }
    }
}

/// With a second copy: each batch that is taken is pending.
fn replicated() -> (Arc<Location>, impl Sized) {
    let (link, other_end) = Link::for_test();
    (
        Arc::new(Location::new(&budget(), LIFE).placed_by(Placement { number: 0, replica: Some(&link) })),
        other_end,
    )
}

fn pending(location: &Arc<Location>) -> Pending {
    append(location, b"abc").unwrap();
    Pending::of(Arc::clone(location))
}

// Invariant 2: no acknowledgement after finalise, so a close waits for those that are still to come.
#[tokio::test]
async fn a_commit_waits_for_batches_on_their_way_to_the_second_copy() {
    let (location, _other_end) = replicated();
    let (first, second) = (pending(&location), pending(&location));
    let mut commit = std::pin::pin!(location.commit(PATIENCE));
    assert!(futures::poll!(&mut commit).is_pending());
    assert_eq!(append(&location, b"late"), Err(Refusal::Closed));
    drop(first);
    assert!(futures::poll!(&mut commit).is_pending());
    drop(second);
    assert_eq!(commit.await, CommitVerdict::Committed { stored_bytes: 6 });
}

// Invariant 2: if they do not drain in time the commit fails, and stays failed.
#[tokio::test(start_paused = true)]
async fn a_commit_fails_when_pending_batches_do_not_drain_in_time() {
    let (location, _other_end) = replicated();
    let pending = pending(&location);
    let verdict = location.commit(PATIENCE).await;
    assert!(matches!(verdict, CommitVerdict::Failed { .. }), "{verdict:?}");
    drop(pending);
    assert_eq!(location.commit(PATIENCE).await, verdict);
}

#[test]
fn a_location_whose_link_broke_takes_nothing_more() {
    let (location, other_end) = replicated();
    drop(pending(&location));
    drop(other_end);
    assert_eq!(append(&location, b"more"), Err(Refusal::ReplicaLost));
}

// Invariant 6: a batch that was refused goes to another epoch, and none that follows it may be taken here.
#[test]
fn after_a_refusal_by_the_second_copy_nothing_more_is_taken() {
    let (location, _other_end) = replicated();
    pending(&location).refused(Refusal::Full);
    assert_eq!(append(&location, b"more"), Err(Refusal::Full));
}

// Invariant 6: a soft split is accepted, a hard one is not.
#[test]
fn a_growing_location_first_asks_for_a_split_and_then_insists() {
    let location = Location::new(&budget(), LIFE).splitting_from(10);
    let sizes =
        [5, 5, 20, 10, 1].map(|bytes| location.append(Bytes::from(vec![0; bytes]), Charge::none(&budget())));
    let soon = Ok(Taken::SplitSoon);
    assert_eq!(sizes, [Ok(Taken::Stored), soon, soon, soon, Err(Refusal::Full)]);
}

// Invariant 2 in threads, with answers that come late: everything answered is covered, and nothing is answered afterwards.
#[test]
fn every_pending_batch_is_answered_before_the_verdict() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for _ in 0..200 {
        let (location, _other_end) = replicated();
        let decided = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        if append(&location, b"x").is_err() {
                            return;
                        }
                        let pending = Pending::of(Arc::clone(&location));
                        std::thread::yield_now();
                        assert!(!decided.load(Ordering::SeqCst), "answered after the verdict");
                        drop(pending);
                    }
                });
            }
            runtime.block_on(location.commit(PATIENCE));
            decided.store(true, Ordering::SeqCst);
        });
    }
}
