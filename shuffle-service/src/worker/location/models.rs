//! Pushes, writes, commits, moves and reads of one location at the same time.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use penstock_protocol::shuffle::CommitVerdict;
use shuttle::future::{JoinHandle, spawn};

use super::*;
use crate::worker::{
    config::Config,
    models::{check, switch},
};

const BATCH: &[u8] = b"batch";

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

/// Pushes a batch with a second copy that the other worker takes or not; the bytes that were acknowledged.
async fn push(location: Arc<Location>, taken_there: bool) -> u64 {
    if append(&location).is_err() {
        return 0;
    }
    let pending = Pending::of(location);
    switch();
    if !taken_there {
        pending.refused(Refusal::ReplicaLost);
        return 0;
    }
    BATCH.len() as u64
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
        let (link, _other_end) = Link::for_test();
        let location = Arc::new(location().placed_by(Placement { number: 0, replica: Some(&link) }));
        let pushes = (0..3).map(|nth| spawn(push(Arc::clone(&location), nth != 1))).collect();
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
    });
}

// Invariants 5 and 17: a commit after a split and the commit of the stage say the same.
#[test]
fn an_early_and_the_final_commit_agree() {
    check(|| async {
        let (link, _other_end) = Link::for_test();
        let location = Arc::new(location().placed_by(Placement { number: 0, replica: Some(&link) }));
        let pushes = (0..2).map(|_| spawn(push(Arc::clone(&location), true))).collect();
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

/// Names of the files and objects that exist.
type Disk = Arc<Mutex<BTreeSet<String>>>;

fn exists(there: &Disk, place: &Place) -> bool {
    switch();
    let Place::Disk { file, .. } = place else { panic!("only files here") };
    there.lock().unwrap().contains(file.to_str().unwrap())
}

/// Copies the only part, serves the copy, and only then removes the original.
async fn evict(location: Arc<Location>, there: Disk) {
    let part = location.parts().remove(0);
    if !location.begin_move(&part) {
        return;
    }
    there.lock().unwrap().insert("copy".to_owned());
    switch();
    if location.end_move(&part, Some(disk("copy"))) {
        switch();
        there.lock().unwrap().remove("file");
    }
}

/// Reads what is stored, and asks again where a file has gone.
async fn read(location: Arc<Location>, there: Disk) -> Result<u64, Refusal> {
    loop {
        let place = |location: &Location| match location.chunk(0, 100)? {
            Chunk::Stored { place, available, .. } => Ok((place, available)),
            chunk => panic!("it is on disk: {chunk:?}"),
        };
        let (at, available) = place(&location)?;
        if exists(&there, &at) {
            return Ok(available);
        }
        let (now, _) = place(&location)?;
        assert_ne!(now, at, "a file is gone and nothing stands for it");
    }
}

// Invariants 21, 22 and 28: whoever reads while data moves finds all of it, or hears that it was released.
#[test]
fn a_reader_finds_what_moves() {
    check(|| async {
        let location = Arc::new(location());
        append(&location).unwrap();
        write_out(&location);
        assert!(matches!(location.state().try_commit(), Some(CommitVerdict::Committed { .. })));
        let there = Disk::new(Mutex::new(["file".to_owned()].into()));
        let moving = spawn(evict(Arc::clone(&location), Arc::clone(&there)));
        let readers = [0; 2].map(|_| spawn(read(Arc::clone(&location), Arc::clone(&there))));
        for reader in readers {
            assert_eq!(reader.await.unwrap(), Ok(BATCH.len() as u64));
        }
        let released = Arc::clone(&location);
        let release = spawn(async move { released.release().await });
        let late = spawn(read(Arc::clone(&location), Arc::clone(&there)));
        assert!(matches!(late.await.unwrap(), Ok(5) | Err(Refusal::Expired)));
        moving.await.unwrap();
        release.await.unwrap();
    });
}
