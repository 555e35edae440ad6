//! Workers that come back, and workers that do not.

use std::{path::PathBuf, sync::Arc};

use penstock_common::bytes::ByteSize;
use penstock_protocol::shuffle::{CommitVerdict, PartitionSource};
use penstock_shuffle_client::{ClientOptions, FetchError, PushError};
use penstock_shuffle_service::{
    disk::{Disk, Fault, Operation, Rule},
    worker::Fsync,
};

use crate::cluster::{Cluster, JOB, SHUFFLE, Setup, Worker, cluster, eventually, payload, shuffle, winner};

pub const BATCH: usize = 100_000;

pub fn one_worker() -> Setup {
    let options = ClientOptions { connect_tries: 2, absence_ms: 0, ..ClientOptions::default() };
    Setup { workers: 1, options, ..Setup::default() }
}

pub fn synced() -> Setup {
    Setup { configure: |config| config.fsync = Fsync::Commit, ..one_worker() }
}

/// So little memory that most of what is written goes to the disk at once.
fn small() -> Setup {
    Setup { memory: ByteSize::mib(8), ..one_worker() }
}

/// One committed shuffle of one partition with `batches` batches.
pub async fn committed(cluster: &Cluster, batches: u32) -> PartitionSource {
    let target = cluster.reserve(SHUFFLE, 1).await;
    let all = (0..batches).map(|batch| (0, payload(0, 0, batch, BATCH)));
    let output = cluster.write(&target, 0, 0, all).await.unwrap();
    cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0)
}

pub async fn read(cluster: &Cluster, source: &PartitionSource) -> Result<usize, FetchError> {
    cluster.read(SHUFFLE, &[winner(0, 0)], source.clone()).await.map(|batches| batches.len())
}

pub async fn assert_lost(cluster: &Cluster, source: &PartitionSource) {
    let error = read(cluster, source).await.unwrap_err();
    assert!(matches!(error, FetchError::Lost { .. }), "{error}");
}

fn manifest(worker: &Worker) -> Option<PathBuf> {
    worker.disk.files().into_iter().find(|file| file.ends_with("manifest"))
}

// Invariant 25: after an orderly stop the same bytes are served. Invariant 16: under the life that committed them, while
// nothing else is answered for that life.
#[tokio::test]
async fn after_a_stop_in_order_what_was_committed_is_served_and_nothing_else() {
    let cluster = cluster(one_worker()).await;
    let source = committed(&cluster, 5).await;
    let open = cluster.reserve(shuffle(1), 1).await;
    cluster.write(&open, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
    let worker = &cluster.workers[0];
    let again = cluster.restart(worker, Arc::clone(&worker.disk)).await;
    assert_eq!(again.handle.address.data, worker.handle.address.data);
    assert_ne!(again.handle.address.incarnation, worker.handle.address.incarnation);

    assert_eq!(read(&cluster, &source).await.unwrap(), 5);
    let error = cluster.write(&open, 0, 1, [(0, payload(0, 0, 0, 100))]).await.unwrap_err();
    assert!(matches!(error, PushError::Lost { .. }), "{error}");
    let verdicts = cluster.commit(&open, &[winner(0, 0)]).await;
    assert!(matches!(verdicts[0].1, CommitVerdict::Failed { .. }), "{verdicts:?}");
    let uncommitted = PartitionSource { locations: open.locations.clone(), ..source };
    let error = cluster.read(shuffle(1), &[winner(0, 0)], uncommitted).await.unwrap_err();
    assert!(matches!(error, FetchError::Lost { .. }), "{error}");
    // The new life takes new work.
    let target = cluster.reserve(shuffle(2), 1).await;
    cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
}

// Invariant 25: what is kept is durable before the worker leaves.
#[tokio::test]
async fn what_was_kept_once_is_kept_again_under_the_life_that_committed_it() {
    let cluster = cluster(one_worker()).await;
    let source = committed(&cluster, 5).await;
    let second = cluster.restart(&cluster.workers[0], Arc::clone(&cluster.workers[0].disk)).await;
    let third = cluster.restart(&second, Arc::clone(&second.disk)).await;
    assert_eq!(read(&cluster, &source).await.unwrap(), 5);
    // Nor does a kill take it: it is durable since the first stop.
    let fourth = cluster.restart(&third, Arc::new(third.disk.after_power_loss())).await;
    assert_eq!(read(&cluster, &source).await.unwrap(), 5);
    drop(fourth);
}

// Invariant 16: not even when the new life knows a shuffle of the same name.
#[tokio::test]
async fn a_commit_that_means_a_former_life_fails_although_the_new_one_holds_the_shuffle() {
    let cluster = cluster(one_worker()).await;
    let former = cluster.reserve(SHUFFLE, 1).await;
    let worker = &cluster.workers[0];
    let _again = cluster.restart(worker, Arc::clone(&worker.disk)).await;
    let present = cluster.reserve(SHUFFLE, 1).await;
    let verdicts = cluster.commit(&former, &[]).await;
    assert!(matches!(verdicts[0].1, CommitVerdict::Failed { .. }), "{verdicts:?}");
    assert_eq!(cluster.commit(&present, &[]).await[0].1, CommitVerdict::Empty);
}

#[tokio::test]
async fn a_worker_that_is_gone_makes_pushes_and_fetches_fail_within_their_tries() {
    let cluster = cluster(one_worker()).await;
    let source = committed(&cluster, 1).await;
    let target = cluster.reserve(shuffle(1), 1).await;
    cluster.workers[0].stop().await;
    let error = read(&cluster, &source).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable { .. }), "{error}");
    let error = cluster.write(&target, 0, 1, [(0, payload(0, 0, 0, 100))]).await.unwrap_err();
    assert!(matches!(error, PushError::Unavailable { .. }), "{error}");
}

// A kill -9, and worse: with `commit`, an answered commit is on the disk.
#[tokio::test]
async fn a_commit_that_was_answered_survives_a_loss_of_power() {
    let cluster = cluster(synced()).await;
    let source = committed(&cluster, 5).await;
    let open = cluster.reserve(shuffle(1), 1).await;
    cluster.write(&open, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
    let worker = &cluster.workers[0];
    let again = cluster.restart(worker, Arc::new(worker.disk.after_power_loss())).await;
    assert_eq!(read(&cluster, &source).await.unwrap(), 5);
    // What nobody can ask for is gone.
    assert!(
        again.disk.files().iter().all(|file| !file.to_string_lossy().contains("/1-0/")),
        "{:?}",
        again.disk.files()
    );
}

// Invariant 3: what could not be synced does not commit.
#[tokio::test]
async fn a_commit_fails_when_a_sync_does() {
    let data = format!("data/w0/{JOB}/0-0/0-0-0");
    for (below, operation, fault) in [
        (data.as_str(), Operation::Sync, Fault::Error),
        ("data/w0", Operation::Sync, Fault::Error),
        ("data/w0", Operation::Write, Fault::NoSpace),
    ] {
        let cluster = cluster(synced()).await;
        let target = cluster.reserve(SHUFFLE, 1).await;
        cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
        cluster.workers[0].faults.always(below, operation, fault);
        for _ in 0..2 {
            let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
            assert!(matches!(verdicts[0].1, CommitVerdict::Failed { .. }), "{verdicts:?}");
        }
    }
}

// A disk that lies about syncs: what it lost is lost by name, never fewer rows.
#[tokio::test]
async fn data_whose_sync_was_lost_is_not_served_after_a_loss_of_power() {
    let cluster = cluster(synced()).await;
    let worker = &cluster.workers[0];
    worker.faults.always("data/w0", Operation::Sync, Fault::LostSync);
    let source = committed(&cluster, 5).await;
    let _again = cluster.restart(worker, Arc::new(worker.disk.after_power_loss())).await;
    assert_lost(&cluster, &source).await;
}

/// Commits with the policy `none`, waits until a manifest names what is on disk, and kills the worker.
async fn killed_without_syncs(damage: impl FnOnce(&Worker)) -> (Cluster, PartitionSource) {
    let (cluster, source, _again) = restarted_without_syncs(damage).await;
    (cluster, source)
}

async fn restarted_without_syncs(damage: impl FnOnce(&Worker)) -> (Cluster, PartitionSource, Worker) {
    let cluster = cluster(small()).await;
    let source = committed(&cluster, 60).await;
    let worker = &cluster.workers[0];
    // Another shuffle presses the rest of the first one out of memory: none of its partitions is as large.
    let more = cluster.reserve(shuffle(1), 120).await;
    let all = (0..120).map(|partition| (partition, payload(0, partition, 0, BATCH / 2)));
    cluster.write(&more, 0, 0, all).await.unwrap();
    eventually("a manifest is written", async || manifest(worker).is_some()).await;
    damage(worker);
    let again = cluster.restart(worker, Arc::new(worker.disk.after_kill())).await;
    (cluster, source, again)
}

#[tokio::test]
async fn without_syncs_a_kill_leaves_what_is_provably_whole() {
    let (cluster, source) = killed_without_syncs(|_| {}).await;
    assert_eq!(read(&cluster, &source).await.unwrap(), 60);
}

// Invariants 8 and 22.
#[tokio::test]
async fn without_syncs_what_cannot_be_proved_is_lost_by_name() {
    let data = |worker: &Worker| {
        let files = worker.disk.files();
        files.into_iter().find(|file| file.to_string_lossy().contains("/0-0/0-0-0")).unwrap()
    };
    let (cluster, source) =
        killed_without_syncs(|worker| worker.disk.damage(&data(worker), |bytes| bytes[BATCH] ^= 1)).await;
    assert_lost(&cluster, &source).await;
    let (cluster, source) = killed_without_syncs(|worker| {
        worker.disk.damage(&data(worker), |bytes| bytes.truncate(bytes.len() - 1));
    })
    .await;
    assert_lost(&cluster, &source).await;
    let (cluster, source) = killed_without_syncs(|worker| {
        worker.disk.damage(&manifest(worker).unwrap(), |bytes| bytes.truncate(bytes.len() / 2));
    })
    .await;
    assert_lost(&cluster, &source).await;
}

// Data that is on its disk is not lost because the disk was busy once; data that was wrong once is not to be trusted.
#[tokio::test]
async fn what_could_not_be_read_for_its_proof_is_proved_later_and_what_was_wrong_is_lost_for_good() {
    for (fault, is_served_later) in [(Fault::Error, true), (Fault::BitFlip, false)] {
        let (cluster, source, again) = restarted_without_syncs(|_| {}).await;
        let data = format!("data/w0/{JOB}/0-0").into();
        again.faults.add(Rule { below: data, operation: Operation::Read, skip: 1, times: 1, fault });
        assert_lost(&cluster, &source).await;
        assert_eq!(again.faults.injected(), 1);
        if is_served_later {
            assert_eq!(read(&cluster, &source).await.unwrap(), 60);
        } else {
            assert_lost(&cluster, &source).await;
        }
    }
}

#[tokio::test]
async fn what_was_in_memory_when_the_worker_was_killed_is_lost_by_name() {
    let cluster = cluster(one_worker()).await;
    let source = committed(&cluster, 5).await;
    let worker = &cluster.workers[0];
    assert_eq!(worker.disk.files(), Vec::<PathBuf>::new());
    let _again = cluster.restart(worker, Arc::new(worker.disk.after_kill())).await;
    assert_lost(&cluster, &source).await;
}

#[tokio::test]
async fn what_was_released_does_not_come_back() {
    let cluster = cluster(synced()).await;
    let source = committed(&cluster, 5).await;
    let worker = &cluster.workers[0];
    cluster.owner.release_shuffle(SHUFFLE).await;
    let again = cluster.restart(worker, Arc::clone(&worker.disk)).await;
    assert_eq!(again.disk.files(), Vec::<PathBuf>::new());
    assert_lost(&cluster, &source).await;
}

// Invariant 26: a job's end reaches what a former life kept of it.
#[tokio::test]
async fn the_end_of_a_job_deletes_what_a_former_life_kept_of_it() {
    let cluster = cluster(synced()).await;
    let source = committed(&cluster, 5).await;
    let worker = &cluster.workers[0];
    let again = cluster.restart(worker, Arc::clone(&worker.disk)).await;
    assert_eq!(read(&cluster, &source).await.unwrap(), 5);
    cluster.owner.release_job(SHUFFLE.job).await.unwrap();
    eventually("the data goes", async || again.disk.files().is_empty()).await;
    assert_lost(&cluster, &source).await;
}

#[tokio::test]
async fn a_worker_that_is_to_keep_nothing_starts_empty() {
    let setup = Setup { configure: |config| config.keep_data = false, ..one_worker() };
    let cluster = cluster(setup).await;
    let source = committed(&cluster, 5).await;
    let worker = &cluster.workers[0];
    worker.disk.write_at(&PathBuf::from("data/w0/job/0-0/0-0-0"), 0, vec!["x".into()]).await.unwrap();
    let again = cluster.restart(worker, Arc::clone(&worker.disk)).await;
    assert_eq!(again.disk.files(), Vec::<PathBuf>::new());
    assert_lost(&cluster, &source).await;
}
