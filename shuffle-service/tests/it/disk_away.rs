//! A disk that does not answer when its worker starts, or when something is committed.

use std::sync::Arc;

use penstock_common::bytes::ByteSize;
use penstock_protocol::{
    ids::{Epoch, PartitionIndex},
    shuffle::{CommitVerdict, ShuffleTarget},
};
use penstock_shuffle_service::{
    disk::{Fault, FaultyDisk, Operation, Rule},
    worker::{Config, DiskClass, DiskConfig, Fsync},
};

use crate::{
    cluster::{JOB, SHUFFLE, Setup, Worker, cluster, eventually, payload, winner},
    disks::states,
    restart::{BATCH, assert_lost, committed, one_worker, read},
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
        let faults = Arc::new(FaultyDisk::new(worker.disk.clone()));
        faults.always("fast", Operation::List, fault);
        let second = cluster.restart_with(worker, Arc::clone(&worker.disk), faults).await;
        assert_lost(&cluster, &source).await;
        let wanted = [(PartitionIndex(0), Epoch(1))];
        let locations = cluster.owner.extend(SHUFFLE, &wanted, &[]).await.unwrap();
        let target = Arc::new(ShuffleTarget { shuffle: SHUFFLE, locations });
        cluster.write(&target, 1, 0, [(0, payload(1, 0, 0, 100))]).await.unwrap();
        let verdicts = cluster.commit(&target, &[winner(1, 0)]).await;
        assert!(matches!(verdicts[0].1, CommitVerdict::Committed { .. }), "{verdicts:?}");
        second.faults.heal();
        let third = cluster.restart(&second, Arc::clone(&second.disk)).await;
        assert_eq!(read(&cluster, &source).await.unwrap(), 5, "{fault:?}");
        // And it goes with its job.
        cluster.owner.release_job(JOB).await.unwrap();
        eventually("nothing is left", async || third.disk.files().is_empty()).await;
    }
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
