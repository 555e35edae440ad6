//! Two copies: what is acknowledged survives the loss of a worker.

use std::sync::Arc;

use bytes::Bytes;
use penstock_common::bytes::ByteSize;
use penstock_protocol::{
    commit::CommitLoss,
    ids::PartitionIndex,
    shuffle::{CommitVerdict, Location, PartitionSource, ShuffleTarget},
};
use penstock_shuffle_client::{
    FetchError,
    owner::{IncompleteError, OwnerError, sources},
};

use crate::cluster::{Cluster, SHUFFLE, Setup, Worker, by_partition, cluster, payload, winner};

const PARTITIONS: u32 = 6;

fn batches(map: u32, count: u32, length: usize) -> Vec<(u32, Bytes)> {
    let batch = |batch| (batch % PARTITIONS, payload(map, batch % PARTITIONS, batch, length));
    (0..count).map(batch).collect()
}

fn on<'a>(target: &'a ShuffleTarget, worker: &Worker) -> &'a Location {
    target.locations.iter().find(|location| location.worker.worker == *worker.id()).unwrap()
}

/// Commits one map's output and checks that every partition holds exactly its batches, in their order.
async fn check(
    cluster: &Cluster,
    target: &ShuffleTarget,
    written: &[(u32, Bytes)],
    sources: Vec<PartitionSource>,
) {
    assert_eq!(sources.len(), target.locations.len());
    for source in sources {
        let expected = by_partition(written).remove(&source.partition.0).unwrap_or_default();
        let partition = source.partition;
        let read = cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap();
        assert_eq!(read, expected, "partition {partition}");
    }
}

// Invariant 1: acknowledged means that both copies have it.
#[tokio::test]
async fn either_copy_alone_holds_everything_that_was_acknowledged() {
    let cluster = cluster(Setup::replicated(3)).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    assert!(target.locations.iter().all(|location| location.replica.as_ref() != Some(&location.worker)));
    let written = batches(0, 60, 3000);
    let output = cluster.write(&target, 0, 0, written.clone()).await.unwrap();
    let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
    assert_eq!(verdicts.len(), 2 * PARTITIONS as usize);
    assert!(verdicts.iter().all(|(_, verdict)| matches!(verdict, CommitVerdict::Committed { .. })));
    for copy in [0, 1] {
        let one: Vec<_> = verdicts.iter().skip(copy).step_by(2).cloned().collect();
        let sources = sources(SHUFFLE, &one, [&output]).unwrap();
        check(&cluster, &target, &written, sources).await;
    }
}

#[tokio::test]
async fn with_one_worker_there_is_one_copy() {
    let cluster = cluster(Setup::replicated(1)).await;
    let target = cluster.reserve(SHUFFLE, 2).await;
    assert!(target.locations.iter().all(|location| location.replica.is_none()));
    cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 10))]).await.unwrap();
}

// Invariant 15: a reservation that one copy refuses leaves nothing on the other.
#[tokio::test]
async fn a_reservation_that_fails_on_one_copy_is_destroyed_on_both() {
    let cluster = cluster(Setup { locations_max: 6, ..Setup::replicated(2) }).await;
    let error = cluster.owner.reserve(SHUFFLE, 7).await.unwrap_err();
    assert!(matches!(error, OwnerError::Reserve { .. } | OwnerError::NoWorkers { .. }), "{error}");
    assert_eq!(cluster.reserve(SHUFFLE, 6).await.locations.len(), 6);
}

// Invariants 1, 7, 13 and 14: losing either worker of a location in the middle of an attempt costs nothing.
#[tokio::test]
async fn an_attempt_survives_the_loss_of_a_worker() {
    for victim in [0, 1, 2] {
        let cluster = cluster(Setup::replicated(3)).await;
        let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
        let written = batches(0, 120, 3000);
        let mut writer = cluster.writer(&target, 0, 0).await;
        for (index, (partition, payload)) in written.iter().enumerate() {
            if index == 60 {
                cluster.workers[victim].stop().await;
            }
            writer.push(PartitionIndex(*partition), payload.len() as u32, payload.clone()).await.unwrap();
        }
        let output = writer.finish().await.unwrap();
        let sources = cluster.sources(&target, &[winner(0, 0)], &[output]).await;
        check(&cluster, &target, &written, sources).await;
    }
}

// The same after everything was acknowledged, before the commit: the other copy is enough (invariant 14).
#[tokio::test]
async fn a_worker_lost_before_the_commit_costs_nothing() {
    let cluster = cluster(Setup::replicated(3)).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let written = batches(0, 60, 3000);
    let output = cluster.write(&target, 0, 0, written.clone()).await.unwrap();
    cluster.workers[1].stop().await;
    let sources = cluster.sources(&target, &[winner(0, 0)], &[output]).await;
    check(&cluster, &target, &written, sources).await;
}

// Invariant 14: with one copy the loss is a loss, although the attempt itself could go on.
#[tokio::test]
async fn with_one_copy_what_was_on_a_lost_worker_is_missed_at_the_commit() {
    let cluster = cluster(Setup { copies: 1, ..Setup::replicated(2) }).await;
    let target = cluster.reserve(SHUFFLE, 2).await;
    let mut writer = cluster.writer(&target, 0, 0).await;
    writer.push(PartitionIndex(0), 1, payload(0, 0, 0, 300_000)).await.unwrap();
    writer.push(PartitionIndex(1), 1, payload(0, 1, 1, 300_000)).await.unwrap();
    cluster.workers[0].stop().await;
    writer.push(PartitionIndex(0), 1, payload(0, 0, 2, 10)).await.unwrap();
    let output = writer.finish().await.unwrap();
    let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
    assert!(
        matches!(
            sources(SHUFFLE, &verdicts, [&output]),
            Err(IncompleteError { loss: CommitLoss::Lost { .. }, .. })
        ),
        "{verdicts:?}"
    );
}

// Invariant 19: a reader goes to the other copy and begins at its beginning.
#[tokio::test]
async fn a_reader_fails_over_when_a_worker_is_gone() {
    let cluster = cluster(Setup::replicated(2)).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let written = batches(0, 60, 3000);
    let output = cluster.write(&target, 0, 0, written.clone()).await.unwrap();
    let sources = cluster.sources(&target, &[winner(0, 0)], &[output]).await;
    assert!(sources.iter().all(|source| source.locations[0].replica.is_some()));
    cluster.workers[0].stop().await;
    check(&cluster, &target, &written, sources).await;
}

// Invariants 18, 19 and 23: what was read of a damaged copy is not read again from the other one, the damaged batch is.
#[tokio::test]
async fn a_reader_fails_over_in_the_middle_of_a_damaged_copy() {
    let setup = Setup { memory: ByteSize::mib(8), ..Setup::replicated(2) };
    let cluster = cluster(setup).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let written: Vec<_> = (0..60).map(|batch| (0, payload(0, 0, batch, 100_000))).collect();
    let output = cluster.write(&target, 0, 0, written.clone()).await.unwrap();
    let source = cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0);
    let primary =
        cluster.workers.iter().find(|worker| *worker.id() == target.locations[0].worker.worker).unwrap();
    let file = primary.disk.files().remove(0);
    let expected = by_partition(&written).remove(&0).unwrap();
    for position in [0, 50_000, 5 * (100_000 + 28) + 17, 5 * (100_000 + 28) + 50_000] {
        primary.disk.damage(&file, |bytes| bytes[position] ^= 0x10);
        assert_eq!(cluster.read(SHUFFLE, &[winner(0, 0)], source.clone()).await.unwrap(), expected);
        primary.disk.damage(&file, |bytes| bytes[position] ^= 0x10);
    }
}

// Invariant 22: when both are gone it is an error, never fewer rows.
#[tokio::test]
async fn a_reader_without_any_copy_left_says_so() {
    let cluster = cluster(Setup::replicated(2)).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let output = cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
    let source = cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0);
    for worker in &cluster.workers {
        worker.stop().await;
    }
    let error = cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable { .. }), "{error}");
}

// Invariant 27: workers that replicate to each other while both are short of memory do not wait for each other.
#[tokio::test]
async fn two_workers_that_replicate_to_each_other_in_little_memory_make_progress() {
    let setup = Setup { memory: ByteSize::mib(8), ..Setup::replicated(2) };
    let cluster = cluster(setup).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let maps = (0..4).map(|map| cluster.write(&target, map, 0, batches(map, 60, 100_000)));
    let outputs: Vec<_> = futures::future::join_all(maps).await.into_iter().map(Result::unwrap).collect();
    let winners = [0, 1, 2, 3].map(|map| winner(map, 0));
    for source in cluster.sources(&target, &winners, &outputs).await {
        assert_eq!(cluster.read(SHUFFLE, &winners, source).await.unwrap().len(), 40);
    }
}

// Feature 10: a worker that is out of memory and disk is left for another one.
#[tokio::test]
async fn a_worker_that_is_out_of_room_is_left_for_another() {
    let setup = Setup { memory: ByteSize::mib(8), copies: 1, ..Setup::replicated(2) };
    let cluster = cluster(setup).await;
    // Committed data that cannot be flushed fills one worker for good.
    let filling = cluster.reserve(crate::cluster::shuffle(1), 2).await;
    let full = &cluster.workers[0];
    let partition = on(&filling, full).partition.0;
    let fill = (0..25).map(|batch| (partition, payload(0, 0, batch, 100_000)));
    cluster.write(&filling, 0, 0, fill).await.unwrap();
    cluster.commit(&filling, &[winner(0, 0)]).await;
    full.disk.set_bytes_max(0);
    let target = Arc::clone(&cluster.reserve(SHUFFLE, 2).await);
    let written: Vec<_> = (0..60).map(|batch| (batch % 2, payload(0, batch % 2, batch, 100_000))).collect();
    let output = cluster.write(&target, 0, 0, written.clone()).await;
    // What the full worker took before may be lost with it: then the attempt fails by name, and it is never fewer rows.
    if let Ok(output) = output {
        let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
        if let Ok(sources) = sources(SHUFFLE, &verdicts, [&output]) {
            check(&cluster, &target, &written, sources).await;
        }
    }
}
