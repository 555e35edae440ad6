//! Pushes, writes and commits of one location at the same time.
#![allow(clippy::unwrap_used)]

use penstock_protocol::{
    frame::{Entry, FRAME_HEAD_BYTES, Push, PushHead, PushRecorder, PushVerdict},
    ids::{AttemptNumber, BatchId, Epoch, JobId, PartitionIndex, ShuffleId, StageId, TaskIndex},
    shuffle::CommitVerdict,
    token::JobToken,
};
use shuttle::future::{JoinHandle, spawn};
use uuid::Uuid;

use super::*;
use crate::worker::{
    config::Config,
    link::OtherEnd,
    models::{check, switch},
    store::{Pushed, accept},
};

const BATCH: &[u8] = b"batch";
const SHUFFLE: ShuffleId = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(0), run: 0 };

fn location() -> Location {
    Location::new(&Budget::new(&Config::default()), Incarnation(5))
}

fn append(location: &Location) -> Result<Taken, Refusal> {
    let budget = Budget::new(&Config::default());
    location.append(Bytes::from_static(BATCH), Charge::none(&budget))
}

fn disk(name: &str) -> Place {
    Place::Disk { disk: 0, file: name.into() }
}

fn stored(place: Place) -> Stored {
    Stored { place, crc32c: 0, synced: true }
}

fn entry() -> Entry {
    let mut recorder = PushRecorder::default();
    let payload = Bytes::from_static(BATCH);
    let header = BatchHeader::of(TaskIndex(0), AttemptNumber(0), BatchId(0), 1, &payload);
    recorder.add(PartitionIndex(0), Epoch(0), &header, payload);
    let head = PushHead { request: 0, incarnation: Incarnation(5), shuffle: SHUFFLE, token: JobToken::NONE };
    let frame = Bytes::from(recorder.finish(head).concat());
    Push::parse(frame.slice(FRAME_HEAD_BYTES..)).unwrap().entries.remove(0)
}

/// Pushes a batch, with its second copy; the bytes that were acknowledged.
async fn push(location: Arc<Location>) -> u64 {
    let (mut pushed, entry) = (Pushed::of(SHUFFLE, 1), entry());
    let bytes = entry.batch.record.len() as u64;
    let charge = Charge::none(&Budget::new(&Config::default()));
    if accept(&mut pushed, 0, &location, entry, charge).is_err() {
        return 0;
    }
    switch();
    let verdicts = match pushed.decided() {
        Ok(verdicts) => verdicts,
        Err(pushed) => {
            let forwarded = pushed.forward().await;
            switch();
            forwarded.decide().await
        }
    };
    if verdicts.iter().all(|verdict| verdict.is_accepted()) { bytes } else { 0 }
}

/// The worker with the second copies: says to one frame after the other whether it took it.
async fn take_copies(mut frames: OtherEnd, verdicts: impl Iterator<Item = PushVerdict>) {
    for verdict in verdicts {
        switch();
        if !frames.answer(verdict).await {
            return;
        }
    }
}

fn write_out(location: &Location) {
    if let Begin::Write(write) = location.begin_write(u64::MAX, |_| Some(disk("file"))) {
        switch();
        location.end_write(Ok(stored(write.place)));
    }
}

async fn sum(pushes: Vec<JoinHandle<u64>>) -> u64 {
    let mut sum = 0;
    for push in pushes {
        sum += push.await.unwrap();
    }
    sum
}

fn committed_bytes(verdict: &CommitVerdict) -> u64 {
    match verdict {
        CommitVerdict::Empty => 0,
        CommitVerdict::Committed { stored_bytes } => *stored_bytes,
        CommitVerdict::Failed { reason } | CommitVerdict::Unanswered { reason } => panic!("failed: {reason}"),
    }
}

// Invariants 1 and 2: what was acknowledged is in the commit, however pushes, writes and the close meet.
#[test]
fn a_close_covers_every_batch_that_is_acknowledged() {
    check(|| async {
        let (link, other_end) = Link::for_test();
        let location = Arc::new(location().placed_by(Placement { number: 0, replica: Some(&link) }));
        let full = PushVerdict::Refused(Refusal::NoRoom);
        let copies = take_copies(other_end, [PushVerdict::Accepted, full, PushVerdict::Accepted].into_iter());
        let copies = spawn(copies);
        let pushes = (0..3).map(|_| spawn(push(Arc::clone(&location)))).collect();
        let closing = Arc::clone(&location);
        let close = spawn(async move {
            let verdict = closing.decided().await;
            let pending = closing.state().gate.pending();
            assert_eq!(pending, 0, "an answer is still on its way after the verdict");
            verdict
        });
        let writing = Arc::clone(&location);
        let write = spawn(async move { write_out(&writing) });
        let acknowledged = sum(pushes).await;
        let verdict = close.await.unwrap();
        write.await.unwrap();
        assert!(committed_bytes(&verdict) >= acknowledged, "{acknowledged} bytes acknowledged: {verdict:?}");
        assert_eq!(append(&location), Err(Refusal::Closed));
        copies.abort();
    });
}

// Invariants 5 and 17: a commit after a split and the commit of the stage say the same.
#[test]
fn an_early_and_the_final_commit_agree() {
    check(|| async {
        let (link, other_end) = Link::for_test();
        let location = Arc::new(location().placed_by(Placement { number: 0, replica: Some(&link) }));
        let copies = spawn(take_copies(other_end, std::iter::repeat(PushVerdict::Accepted)));
        let pushes = (0..2).map(|_| spawn(push(Arc::clone(&location)))).collect();
        let splitting = Arc::clone(&location);
        let split = spawn(async move { splitting.split(Refusal::Full) });
        let commit = || {
            let location = Arc::clone(&location);
            spawn(async move { location.decided().await })
        };
        let (early, last) = (commit(), commit());
        let acknowledged = sum(pushes).await;
        split.await.unwrap();
        let (early, last) = (early.await.unwrap(), last.await.unwrap());
        assert_eq!(early, last);
        assert!(committed_bytes(&early) >= acknowledged);
        copies.abort();
    });
}

// Invariants 2 to 4: a close that lost its patience has failed for ever, whatever ends later.
#[test]
fn a_close_without_patience_is_never_taken_back() {
    check(|| async {
        let location = Arc::new(location());
        append(&location).unwrap();
        let writing = Arc::clone(&location);
        let write = spawn(async move { write_out(&writing) });
        let hurried = Arc::clone(&location);
        let hurried = spawn(async move {
            let at_once = hurried.state().try_commit();
            at_once.unwrap_or_else(|| hurried.out_of_patience())
        });
        let said = hurried.await.unwrap();
        write.await.unwrap();
        assert_eq!(location.state().try_commit(), Some(said));
    });
}
