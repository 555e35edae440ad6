//! A disk that does not answer when its worker starts, or when something is committed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use penstock_common::bytes::ByteSize;
use penstock_protocol::{
    ids::{Epoch, PartitionIndex},
    shuffle::{CommitVerdict, ShuffleTarget},
};
use penstock_shuffle_service::{
    disk::{Disk, Fault, FaultyDisk, Operation, Rule},
    worker::{Config, DiskClass, DiskConfig, Fsync},
};

use crate::{
    cluster::{Cluster, JOB, SHUFFLE, Setup, Worker, cluster, eventually, payload, winner},
    disks::states,
    restart::{BATCH, assert_lost, committed, one_worker, read, synced},
};

fn two_disks() -> Setup {
    let configure = |config: &mut Config| {
        let disk = |path: &str, class| DiskConfig { path: path.into(), class, ..DiskConfig::default() };
        config.disks = vec![disk("slow", DiskClass::Hdd), disk("fast", DiskClass::Nvme)];
        config.fsync = Fsync::Commit;
        config.disk_hang_ms = 200;
        config.disk_probe_interval_ms = 10;
    };
    Setup { configure, ..one_worker() }
}

fn fast_manifest() -> PathBuf {
    format!("fast/w0/{JOB}/0-0/manifest").into()
}

/// Another epoch of the shuffle is committed by the life that runs now.
async fn go_on(cluster: &Cluster) {
    let wanted = [(PartitionIndex(0), Epoch(1))];
    let locations = cluster.owner.extend(SHUFFLE, &wanted, &[]).await.unwrap();
    let target = Arc::new(ShuffleTarget { shuffle: SHUFFLE, locations });
    cluster.write(&target, 1, 0, [(0, payload(1, 0, 0, 100))]).await.unwrap();
    let verdicts = cluster.commit(&target, &[winner(1, 0)]).await;
    assert!(matches!(verdicts[0].1, CommitVerdict::Committed { .. }), "{verdicts:?}");
}

// Invariant 25, whatever the life in between writes down of the same shuffle. A disk that hangs does not keep it from
// starting.
#[tokio::test]
async fn what_lies_on_a_disk_that_was_away_at_a_start_is_served_by_the_next_life() {
    for fault in [Fault::Error, Fault::Hang] {
        let cluster = cluster(two_disks()).await;
        let source = committed(&cluster, 5).await;
        let worker = &cluster.workers[0];
        let on_fast =
            |worker: &Worker| worker.disk.files().into_iter().filter(|file| file.starts_with("fast")).count();
        assert_eq!(on_fast(worker), 2, "data and manifest");
        worker.stop().await;
        // The only manifest lies on the disk that answers.
        worker.disk.remove_file(&fast_manifest()).await.unwrap();
        let faults = Arc::new(FaultyDisk::new(worker.disk.clone()));
        faults.always("fast", Operation::List, fault);
        let second = cluster.restart_with(worker, Arc::clone(&worker.disk), faults).await;
        assert_lost(&cluster, &source).await;
        go_on(&cluster).await;
        second.faults.heal();
        let third = cluster.restart(&second, Arc::clone(&second.disk)).await;
        assert_eq!(read(&cluster, &source).await.unwrap(), 5, "{fault:?}");
        // And it goes with its job.
        cluster.owner.release_job(JOB).await.unwrap();
        eventually("nothing is left", async || third.disk.files().is_empty()).await;
    }
}

// Invariant 25, too, for a manifest that the disk does not give: what the life in between writes down does not take its place.
#[tokio::test]
async fn what_a_manifest_names_that_cannot_be_read_at_a_start_is_served_by_the_next_life() {
    let cluster = cluster(synced()).await;
    let source = committed(&cluster, 5).await;
    let worker = &cluster.workers[0];
    let faults = Arc::new(FaultyDisk::new(worker.disk.clone()));
    faults.always(format!("data/w0/{JOB}/0-0/manifest"), Operation::Read, Fault::Error);
    let second = cluster.restart_with(worker, Arc::clone(&worker.disk), faults).await;
    assert_lost(&cluster, &source).await;
    go_on(&cluster).await;
    let third = cluster.restart(&second, Arc::clone(&second.disk)).await;
    assert_eq!(read(&cluster, &source).await.unwrap(), 5);
    cluster.owner.release_job(JOB).await.unwrap();
    eventually("nothing is left", async || third.disk.files().is_empty()).await;
}

// Invariant 25: a disk that is not mounted is an empty folder.
#[tokio::test]
async fn what_lies_on_a_disk_that_was_not_mounted_at_a_start_is_served_by_the_next_life() {
    let cluster = cluster(two_disks()).await;
    let source = committed(&cluster, 5).await;
    let worker = &cluster.workers[0];
    let unmounted = Arc::new(worker.disk.after_kill());
    unmounted.remove_folder(Path::new("fast")).await.unwrap();
    let second = cluster.restart(worker, unmounted).await;
    assert_lost(&cluster, &source).await;
    let mounted = Arc::new(second.disk.after_kill());
    // The manifest lies on the disk that was there.
    let was_away = |file: &PathBuf| file.starts_with("fast") && *file != fast_manifest();
    for file in worker.disk.files().into_iter().filter(was_away) {
        let mut bytes = Vec::new();
        worker.disk.damage(&file, |content| bytes.clone_from(content));
        mounted.write_at(&file, 0, vec![bytes.into()]).await.unwrap();
    }
    let _third = cluster.restart(&second, mounted).await;
    assert_eq!(read(&cluster, &source).await.unwrap(), 5);
}

// What lies on it is not served, and goes with its job all the same.
#[tokio::test]
async fn what_lies_on_a_disk_that_was_away_at_a_start_goes_when_its_job_ends() {
    let cluster = cluster(two_disks()).await;
    committed(&cluster, 5).await;
    let worker = &cluster.workers[0];
    let faults = Arc::new(FaultyDisk::new(worker.disk.clone()));
    faults.always("fast", Operation::List, Fault::Error);
    let second = cluster.restart_with(worker, Arc::clone(&worker.disk), faults).await;
    cluster.owner.release_job(JOB).await.unwrap();
    second.faults.heal();
    eventually("nothing is left", async || second.disk.files().is_empty()).await;
}

// Invariant 3: names that could not be synced are no commit, though the disk takes nothing new.
#[tokio::test]
async fn a_commit_needs_the_names_of_its_files_on_a_disk_that_has_failed() {
    let cluster = cluster(Setup { memory: ByteSize::mib(8), ..two_disks() }).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let batches = (0..120).map(|batch| (0, payload(0, 0, batch, BATCH)));
    cluster.write(&target, 0, 0, batches).await.unwrap();
    let worker = &cluster.workers[0];
    let folder = format!("fast/w0/{JOB}/0-0");
    assert!(worker.disk.files().iter().any(|file| file.starts_with(&folder)));
    worker.faults.always("fast", Operation::Write, Fault::Error);
    eventually("it fails", async || states(&cluster).await[1] == "FAILED").await;
    // The file's own.
    worker.faults.add(Rule {
        below: folder.into(),
        operation: Operation::Sync,
        skip: 1,
        times: 9,
        fault: Fault::Error,
    });
    let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
    assert!(matches!(verdicts[0].1, CommitVerdict::Failed { .. }), "{verdicts:?}");
}
