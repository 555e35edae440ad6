//! Memory, disks, object store: data goes down when it must, and readers do not notice.

use std::{fs, path::Path};

use bytes::Bytes;
use futures::StreamExt;
use penstock_common::bytes::ByteSize;
use penstock_protocol::{ids::ShuffleId, shuffle::PartitionSource};
use penstock_shuffle_client::{ClientOptions, FetchError, owner::sources};
use penstock_shuffle_service::disk::{Fault, Operation, Rule};
use penstock_shuffle_service::worker::{Config, DiskConfig, EvictFirst, Fsync, Tier};

use crate::cluster::{Cluster, JOB, SHUFFLE, Setup, cluster, eventually, payload, shuffle, winner};

const BATCH: usize = 100_000;

/// One worker with little memory and an object store in a folder.
pub struct Tiers {
    pub cluster: Cluster,
    store: tempfile::TempDir,
}

pub async fn tiers(configure: impl FnOnce(&mut Config), disk: u64) -> Tiers {
    tiers_with(Setup::default().options, configure, disk).await
}

pub async fn tiers_with(options: ClientOptions, configure: impl FnOnce(&mut Config), disk: u64) -> Tiers {
    let store = tempfile::tempdir().unwrap();
    let cluster = cluster(Setup { workers: 0, options, ..Setup::default() }).await;
    let mut config = Config {
        name: "w0".into(),
        admin_listen: String::new(),
        masters: vec![cluster.master.control.to_string()],
        data_dirs: vec!["data".into()],
        memory_bytes_max: ByteSize::mib(8),
        disk_reserve_bytes: ByteSize(0),
        heartbeat_interval_ms: 20,
        disk_probe_interval_ms: 10,
        object_store: store.path().display().to_string(),
        ..Config::default()
    };
    configure(&mut config);
    let disk = penstock_shuffle_service::disk::MemoryDisk::with_bytes_max(disk);
    let mut tiers = Tiers { cluster, store };
    let worker = tiers.cluster.start(config, disk.into()).await;
    tiers.cluster.workers.push(worker);
    tiers
}

impl Tiers {
    /// A committed shuffle of one partition with 120 batches, which is more than memory holds.
    pub async fn write(&self, id: ShuffleId) -> PartitionSource {
        self.try_write(id).await.unwrap()
    }

    /// Why it is not committed, if it is not.
    pub async fn try_write(&self, id: ShuffleId) -> Result<PartitionSource, String> {
        let target = self.cluster.reserve(id, 1).await;
        let batches = (0..120).map(|batch| (0, payload(0, 0, batch, BATCH)));
        let output = self.cluster.write(&target, 0, 0, batches).await.map_err(|error| error.to_string())?;
        let verdicts = self.cluster.commit(&target, &[winner(0, 0)]).await;
        let committed = sources(id, &verdicts, [&output]).map_err(|error| error.to_string());
        committed.map(|mut sources| sources.remove(0))
    }

    pub async fn assert_readable(&self, id: ShuffleId, source: &PartitionSource) {
        self.try_read(id, source).await.unwrap();
    }

    /// Panics if anything else is read than was written.
    pub async fn try_read(&self, id: ShuffleId, source: &PartitionSource) -> Result<(), FetchError> {
        let expected: Vec<Bytes> = (0..120).map(|batch| payload(0, 0, batch, BATCH)).collect();
        let read = self.cluster.read(id, &[winner(0, 0)], source.clone()).await?;
        assert!(read == expected, "{} batches", read.len());
        Ok(())
    }

    fn object_bytes(&self) -> u64 {
        bytes_below(self.store.path())
    }

    /// Files of data on the disk, manifests not counted.
    pub fn data_files(&self) -> usize {
        let files = self.cluster.workers[0].disk.files();
        files.iter().filter(|file| !file.ends_with("manifest")).count()
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { bytes_below(&path) } else { path.metadata().unwrap().len() }).sum()
}

pub fn quota(bytes: u64) -> Vec<DiskConfig> {
    vec![DiskConfig { path: "data".into(), quota: ByteSize(bytes), ..DiskConfig::default() }]
}

#[tokio::test]
async fn new_data_goes_straight_to_the_object_store_if_that_is_wanted() {
    let tiers = tiers(|config| config.create_in = Tier::Object, u64::MAX).await;
    let source = tiers.write(SHUFFLE).await;
    tiers.assert_readable(SHUFFLE, &source).await;
    assert!(tiers.object_bytes() > 0);
    assert_eq!(tiers.data_files(), 0);
    tiers.cluster.owner.release_job(JOB).await.unwrap();
    eventually("the objects go", async || tiers.object_bytes() == 0).await;
}

#[tokio::test]
async fn what_the_disks_do_not_take_goes_to_the_object_store() {
    let tiers = tiers(|_| {}, 100).await;
    let source = tiers.write(SHUFFLE).await;
    tiers.assert_readable(SHUFFLE, &source).await;
    assert!(tiers.object_bytes() > 0);
}

// Invariant 28: moving is atomic for readers, also for those under way.
#[tokio::test]
async fn committed_data_moves_from_a_full_disk_to_the_object_store_under_its_readers() {
    for evict_first in [EvictFirst::Oldest, EvictFirst::Largest] {
        let tiers = tiers(
            |config| {
                config.disks = quota(20 << 20);
                config.evict_first = evict_first;
                (config.evict_from_percent, config.evict_to_percent) = (40, 5);
            },
            u64::MAX,
        )
        .await;
        let source = tiers.write(SHUFFLE).await;
        let slow = tiers.cluster.client.read(SHUFFLE, [winner(0, 0)].into(), source.clone());
        let mut slow = Box::pin(slow);
        slow.next().await.unwrap().unwrap();
        // Presses the rest of the first one out of memory, and the disk above its mark.
        let other = tiers.write(shuffle(1)).await;
        eventually("the first one moves", async || tiers.object_bytes() > 9_000_000).await;
        assert_eq!(slow.by_ref().filter(|batch| std::future::ready(batch.is_ok())).count().await, 119);
        tiers.assert_readable(SHUFFLE, &source).await;
        tiers.assert_readable(shuffle(1), &other).await;
        tiers.cluster.owner.release_job(JOB).await.unwrap();
        eventually("everything goes", async || tiers.object_bytes() == 0 && tiers.data_files() == 0).await;
    }
}

// A rest that memory has room for holds nothing on the disk.
#[tokio::test]
async fn committed_data_leaves_a_full_disk_with_what_is_still_in_memory() {
    let tiers = tiers(
        |config| {
            config.disks = quota(20 << 20);
            (config.evict_from_percent, config.evict_to_percent) = (20, 5);
        },
        u64::MAX,
    )
    .await;
    let source = tiers.write(SHUFFLE).await;
    eventually("all of it moves", async || tiers.object_bytes() > 12_000_000 && tiers.data_files() == 0)
        .await;
    tiers.assert_readable(SHUFFLE, &source).await;
}

// Invariant 28: what a move leaves behind is seen by nobody else any more.
#[tokio::test]
async fn a_file_that_could_not_be_deleted_when_its_data_had_moved_goes_later() {
    for operation in [Operation::Write, Operation::Remove] {
        let tiers = tiers(
            |config| {
                config.disks = quota(20 << 20);
                config.create_in = Tier::Disk;
                config.fsync = Fsync::Commit;
            },
            u64::MAX,
        )
        .await;
        let source = tiers.write(SHUFFLE).await;
        let worker = &tiers.cluster.workers[0];
        // Of manifests, or of the data.
        worker.faults.always(format!("data/w0/{JOB}"), operation, Fault::Error);
        let moving = Config { evict_from_percent: 40, evict_to_percent: 5, ..worker.config.clone() };
        worker.handle.reload(moving).unwrap();
        eventually("it fails", async || worker.faults.injected() > 0).await;
        assert!(tiers.data_files() > 0);
        tiers.assert_readable(SHUFFLE, &source).await;
        worker.faults.heal();
        eventually("the files go", async || tiers.data_files() == 0).await;
        tiers.assert_readable(SHUFFLE, &source).await;
    }
}

// Each of them is filled and over its mark.
#[tokio::test]
async fn a_disk_that_hangs_does_not_keep_another_one_full() {
    for hanging in ["a", "b"] {
        let tiers = tiers(
            |config| {
                let disk = |path: &str| DiskConfig {
                    path: path.into(),
                    quota: ByteSize(20 << 20),
                    ..DiskConfig::default()
                };
                config.disks = vec![disk("a"), disk("b")];
                config.create_in = Tier::Disk;
            },
            u64::MAX,
        )
        .await;
        let mut written = Vec::new();
        for exchange in 0..2 {
            written.push((shuffle(exchange), tiers.write(shuffle(exchange)).await));
        }
        let worker = &tiers.cluster.workers[0];
        let is_full = |disk: &str| worker.disk.files().iter().any(|file| is_data_on(file, disk));
        assert!(is_full("a") && is_full("b"));
        worker.faults.always(hanging, Operation::Read, Fault::Hang);
        let moving = Config { evict_from_percent: 1, evict_to_percent: 0, ..worker.config.clone() };
        worker.handle.reload(moving).unwrap();
        let other = if hanging == "a" { "b" } else { "a" };
        eventually("the other one is relieved", async || !is_full(other)).await;
        assert!(is_full(hanging));
        worker.faults.heal();
        eventually("so is the one that hung", async || !is_full(hanging)).await;
        for (id, source) in &written {
            tiers.assert_readable(*id, source).await;
        }
    }
}

fn is_data_on(file: &Path, disk: &str) -> bool {
    file.starts_with(disk) && !file.ends_with("manifest")
}

// It would hold the disk, and the release of its job, for as long as it hangs.
#[tokio::test]
async fn a_read_that_hangs_while_data_moves_is_given_up_and_the_data_moves_later() {
    let tiers = tiers(
        |config| {
            config.disks = quota(20 << 20);
            config.create_in = Tier::Disk;
            config.disk_hang_ms = 200;
            (config.evict_from_percent, config.evict_to_percent) = (40, 5);
        },
        u64::MAX,
    )
    .await;
    let worker = &tiers.cluster.workers[0];
    let below = format!("data/w0/{JOB}").into();
    worker.faults.add(Rule { below, operation: Operation::Read, skip: 0, times: 1, fault: Fault::Hang });
    let source = tiers.write(SHUFFLE).await;
    eventually("the data moves", async || tiers.data_files() == 0).await;
    assert_eq!(worker.faults.injected(), 1);
    tiers.assert_readable(SHUFFLE, &source).await;
}

#[tokio::test]
async fn a_write_that_hangs_holds_up_the_release_of_nothing_else() {
    let tiers = tiers(
        |config| {
            config.disks = quota(20 << 20);
            config.create_in = Tier::Disk;
            config.fsync = Fsync::Commit;
            config.disk_hang_ms = 200;
        },
        u64::MAX,
    )
    .await;
    let worker = &tiers.cluster.workers[0];
    tiers.write(shuffle(1)).await;
    let moving = Config { evict_from_percent: 40, evict_to_percent: 5, ..worker.config.clone() };
    worker.handle.reload(moving).unwrap();
    eventually("it moves", async || tiers.data_files() == 0).await;
    worker.handle.reload(worker.config.clone()).unwrap();
    tiers.write(shuffle(2)).await;
    assert!(tiers.data_files() > 0 && tiers.object_bytes() > 0);
    // The first one to be released.
    worker.faults.always(format!("data/w0/{JOB}/0-0"), Operation::Write, Fault::Hang);
    let open = tiers.cluster.reserve(SHUFFLE, 1).await;
    tiers.cluster.write(&open, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
    let winners = [winner(0, 0)];
    tokio::select! {
        biased;
        verdicts = tiers.cluster.commit(&open, &winners) => panic!("{verdicts:?} although the disk hangs"),
        () = eventually("it hangs", async || worker.faults.injected() > 0) => {}
    }
    let writes = worker.disk.writes();
    tiers.cluster.owner.release_job(JOB).await.unwrap();
    eventually("the rest goes", async || tiers.object_bytes() == 0 && tiers.data_files() == 0).await;
    worker.faults.heal();
    let is_over = async || worker.disk.writes() > writes && tiers.data_files() == 0;
    eventually("so does what hung", is_over).await;
}

// Invariant 28: what moved, or was written there, stays while something names it.
#[tokio::test]
async fn objects_are_found_again_after_a_kill_and_forgotten_ones_deleted() {
    let tiers = tiers(
        |config| {
            config.create_in = Tier::Object;
            config.fsync = Fsync::Commit;
        },
        u64::MAX,
    )
    .await;
    let source = tiers.write(SHUFFLE).await;
    let committed_bytes = tiers.object_bytes();
    // Never committed: nobody can ask for it after the kill.
    let open = tiers.cluster.reserve(shuffle(1), 1).await;
    let batches = (0..120).map(|batch| (0, payload(0, 0, batch, BATCH)));
    tiers.cluster.write(&open, 0, 0, batches).await.unwrap();
    assert!(tiers.object_bytes() > committed_bytes);
    let worker = &tiers.cluster.workers[0];
    let _again = tiers.cluster.restart(worker, worker.disk.after_power_loss().into()).await;
    eventually("the forgotten ones go", async || tiers.object_bytes() == committed_bytes).await;
    tiers.assert_readable(SHUFFLE, &source).await;
}
