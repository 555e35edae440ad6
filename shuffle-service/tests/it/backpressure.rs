//! Memory that runs short, and disks that are slow, full or broken.

use std::io;

use bytes::Bytes;
use penstock_common::bytes::ByteSize;
use penstock_protocol::shuffle::CommitVerdict;
use penstock_shuffle_client::{FetchError, PushError};
use penstock_shuffle_service::worker;

use crate::cluster::{JOB, SHUFFLE, Setup, cluster, eventually, payload, shuffle, winner};

const BATCH: usize = 100_000;

fn small(disk: u64) -> Setup {
    let configure = |config: &mut worker::Config| config.disk_probe_interval_ms = 10;
    Setup { workers: 1, memory: ByteSize::mib(8), disk, configure, ..Setup::default() }
}

fn batches(count: u32) -> impl Iterator<Item = (u32, Bytes)> {
    (0..count).map(|batch| (batch % 3, payload(0, batch % 3, batch, BATCH)))
}

// Invariant 27: a pause ends without the client's help.
#[tokio::test]
async fn pushes_wait_while_memory_is_used_up_and_go_on_by_themselves() {
    let cluster = cluster(small(u64::MAX)).await;
    let target = cluster.reserve(SHUFFLE, 3).await;
    let disk = &cluster.workers[0].disk;
    disk.hold_writes();
    let write = cluster.write(&target, 0, 0, batches(120));
    tokio::pin!(write);
    tokio::select! {
        outcome = &mut write => panic!("12 MB do not fit into 4: {outcome:?}"),
        () = eventually("a write waits", async || disk.writes() > 0) => {}
    }
    disk.let_writes_go();
    let output = write.await.unwrap();
    let sources = cluster.sources(&target, &[winner(0, 0)], &[output]).await;
    for source in sources {
        assert_eq!(cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap().len(), 40);
    }
}

// A full disk is not taken for corruption.
#[tokio::test]
async fn a_full_disk_fails_the_attempt_by_name_and_takes_nothing_that_was_accepted() {
    let cluster = cluster(small(1 << 20)).await;
    let target = cluster.reserve(SHUFFLE, 3).await;
    let error = cluster.write(&target, 0, 0, batches(120)).await.unwrap_err();
    assert!(matches!(error, PushError::NoRoom { .. }), "{error}");
    let verdicts = cluster.commit(&target, &[]).await;
    assert!(verdicts.iter().all(|(_, verdict)| matches!(verdict, CommitVerdict::Committed { .. })));
    // The job's end makes room for others.
    cluster.owner.release_job(JOB).await.unwrap();
    cluster.workers[0].disk.set_bytes_max(u64::MAX);
    let other = penstock_protocol::ids::ShuffleId {
        job: penstock_protocol::ids::JobId(uuid::Uuid::from_u128(2)),
        ..SHUFFLE
    };
    let target = cluster.reserve(other, 3).await;
    cluster.write(&target, 0, 0, batches(120)).await.unwrap();
}

// Invariant 3.
#[tokio::test]
async fn a_failed_write_makes_the_commit_fail_even_if_later_writes_would_work() {
    // No probe finds out first: the write has to be tried.
    let configure = |config: &mut worker::Config| config.disk_probe_interval_ms = 3_600_000;
    let cluster = cluster(Setup { configure, ..small(u64::MAX) }).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let disk = &cluster.workers[0].disk;
    disk.fail_writes(Some(io::ErrorKind::Other));
    let one = (0..120).map(|batch| (0, payload(0, 0, batch, BATCH)));
    let error = cluster.write(&target, 0, 0, one).await.unwrap_err();
    assert!(matches!(error, PushError::Lost { .. }), "{error}");
    disk.fail_writes(None);
    for _ in 0..2 {
        let verdicts = cluster.commit(&target, &[]).await;
        assert!(matches!(verdicts[0].1, CommitVerdict::Failed { .. }), "{verdicts:?}");
    }
}

#[tokio::test]
async fn committed_data_that_cannot_be_written_stays_and_new_pushes_are_refused() {
    let cluster = cluster(small(0)).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let first = (0..20).map(|batch| (0, payload(0, 0, batch, BATCH)));
    let output = cluster.write(&target, 0, 0, first).await.unwrap();
    let source = cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0);
    let target = cluster.reserve(shuffle(1), 1).await;
    let more = (0..60).map(|batch| (0, payload(0, 0, batch, BATCH)));
    let error = cluster.write(&target, 0, 0, more).await.unwrap_err();
    assert!(matches!(error, PushError::NoRoom { .. }), "{error}");
    assert_eq!(cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap().len(), 20);
}

// Invariant 23: damage on disk is a failure by name.
#[tokio::test]
async fn a_changed_byte_on_disk_is_a_loss_wherever_it_is() {
    let cluster = cluster(small(u64::MAX)).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let all = (0..60).map(|batch| (0, payload(0, 0, batch, BATCH)));
    let output = cluster.write(&target, 0, 0, all).await.unwrap();
    let source = cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0);
    let disk = &cluster.workers[0].disk;
    let file = disk.files().remove(0);
    for position in [0, 13, 27, 28, 50_000, BATCH + 28 + 5, 4 * (BATCH + 28) + 17] {
        disk.damage(&file, |bytes| bytes[position] ^= 0x10);
        let (_, error) = cluster.read_until_error(SHUFFLE, &[winner(0, 0)], source.clone()).await;
        assert!(matches!(error, Some(FetchError::Lost { .. })), "byte {position}: {error:?}");
        disk.damage(&file, |bytes| bytes[position] ^= 0x10);
    }
    disk.damage(&file, |bytes| bytes.truncate(bytes.len() - 1));
    let (_, error) = cluster.read_until_error(SHUFFLE, &[winner(0, 0)], source.clone()).await;
    assert!(matches!(error, Some(FetchError::Lost { .. })), "{error:?}");
}

/// A reader that stops costs the worker one write's worth of memory, and the others nothing.
#[tokio::test]
async fn a_reader_that_stops_does_not_hold_up_others() {
    use futures::StreamExt;
    let cluster = cluster(Setup { workers: 1, ..Setup::default() }).await;
    let target = cluster.reserve(SHUFFLE, 2).await;
    let both = (0..160).map(|batch| (batch % 2, payload(0, batch % 2, batch, BATCH)));
    let output = cluster.write(&target, 0, 0, both).await.unwrap();
    let winners = [winner(0, 0)];
    let mut sources = cluster.sources(&target, &winners, &[output]).await;
    let mut stopped = Box::pin(cluster.client.read(SHUFFLE, winners.into(), sources.remove(0)));
    stopped.next().await.unwrap().unwrap();
    assert_eq!(cluster.read(SHUFFLE, &winners, sources.remove(0)).await.unwrap().len(), 80);
    assert_eq!(stopped.count().await, 79);
}
