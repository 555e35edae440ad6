//! Disks that go wrong at random: whatever they do, what is read is what was written, or there is an error with a name.

use std::path::PathBuf;

use bytes::Bytes;
use penstock_common::bytes::ByteSize;
use penstock_protocol::shuffle::{CommitVerdict, Location, MapOutput};
use penstock_shuffle_client::{ClientOptions, owner::sources};
use penstock_shuffle_service::{
    disk::{Fault, Odds, Operation},
    worker::{Config, DiskConfig, Fsync, Tier},
};

use crate::{
    cluster::{Cluster, JOB, SHUFFLE, Setup, by_partition, cluster, eventually, payload, shuffle, winner},
    tiers::{quota, tiers},
};

const PARTITIONS: u32 = 3;

fn setup() -> Setup {
    fn configure(config: &mut Config) {
        let disk = |path: &str| DiskConfig { path: path.into(), ..DiskConfig::default() };
        config.disks = vec![disk("a"), disk("b")];
        config.disk_probe_interval_ms = 5;
        config.disk_hang_ms = 50;
        config.commit_timeout_ms = 500;
        config.fsync = Fsync::Batch;
    }
    let options = ClientOptions { connect_tries: 2, absence_ms: 0, ..ClientOptions::default() };
    Setup { workers: 1, memory: ByteSize::mib(8), options, configure, ..Setup::default() }
}

fn batches() -> Vec<(u32, Bytes)> {
    (0..90).map(|batch| (batch % PARTITIONS, payload(0, batch % PARTITIONS, batch, 60_000))).collect()
}

/// Writes, commits, restarts, and reads; how many partitions were read in the end. Panics if one is not what was written.
async fn exchange(cluster: &Cluster, restart: bool) -> usize {
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let Ok(output) = cluster.write(&target, 0, 0, batches()).await else { return 0 };
    let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
    let all_committed =
        verdicts.iter().all(|(_, verdict)| matches!(verdict, CommitVerdict::Committed { .. }));
    let Ok(sources) = sources(SHUFFLE, &verdicts, [&output]) else {
        assert!(!all_committed);
        return 0;
    };
    let worker = &cluster.workers[0];
    let again = if restart {
        worker.faults.heal();
        Some(cluster.restart(worker, worker.disk.after_power_loss().into()).await)
    } else {
        None
    };
    let mut whole = 0;
    for source in sources {
        let expected = by_partition(&batches()).remove(&source.partition.0).unwrap();
        if let Ok(read) = cluster.read(SHUFFLE, &[winner(0, 0)], source).await {
            assert!(read == expected, "other batches were read than written");
            whole += 1;
        }
    }
    drop(again);
    whole
}

// Invariants 3 and 4: each location is answered for by itself, and the manifest that waits for a disk is not all of it.
#[tokio::test]
async fn a_disk_that_hangs_fails_its_own_locations_of_a_commit_and_no_others() {
    fn configure(config: &mut Config) {
        let disk = |path: &str| DiskConfig { path: path.into(), ..DiskConfig::default() };
        config.disks = vec![disk("a"), disk("b")];
        config.disk_hang_ms = 50;
        config.commit_timeout_ms = 1000;
        config.fsync = Fsync::Commit;
    }
    for operation in [Operation::Write, Operation::Sync] {
        let cluster = cluster(Setup { configure, ..setup() }).await;
        let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
        let output = cluster.write(&target, 0, 0, batches()).await.unwrap();
        let worker = &cluster.workers[0];
        worker.faults.always(format!("a/w0/{JOB}"), operation, Fault::Hang);
        let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
        let files = worker.disk.files();
        let is_good = |(location, _): &(Location, CommitVerdict)| {
            let start = format!("{}-{}-", location.partition, location.epoch);
            let own = |file: &&PathBuf| file.file_name().unwrap().to_string_lossy().starts_with(&start);
            files.iter().filter(own).all(|file| file.starts_with("b")) && files.iter().any(|file| own(&file))
        };
        let (good, bad): (Vec<_>, Vec<_>) = verdicts.into_iter().partition(is_good);
        assert!(!good.is_empty() && !bad.is_empty(), "{operation:?}: {good:?} {bad:?}");
        assert!(good.iter().all(|(_, verdict)| verdict.is_promise()), "{operation:?}: {good:?}");
        assert!(bad.iter().all(|(_, verdict)| !verdict.is_promise()), "{operation:?}: {bad:?}");
        let is_of_good = |partition| good.iter().any(|(location, _)| location.partition == partition);
        let written = output.partitions.into_iter().filter(|(partition, _)| is_of_good(*partition));
        let output = MapOutput { partitions: written.collect() };
        for source in sources(SHUFFLE, &good, [&output]).unwrap() {
            let expected = by_partition(&batches()).remove(&source.partition.0).unwrap();
            assert!(cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap() == expected);
        }
    }
}

async fn by_chance(seed: u64, odds: Odds) -> (usize, u64) {
    let cluster = cluster(setup()).await;
    let faults = &cluster.workers[0].faults;
    faults.start_over(seed, odds);
    let whole = exchange(&cluster, seed % 2 == 1).await;
    (whole, faults.injected())
}

#[tokio::test]
async fn whatever_a_disk_does_what_is_read_is_what_was_written() {
    let odds = Odds { error: 30, no_space: 20, short_write: 30, lost_sync: 200, bit_flip: 60, hang: 10 };
    let (mut read, mut lost, mut injected) = (0, 0, 0);
    for seed in 0..40 {
        let (whole, faults) = by_chance(seed, odds).await;
        (read, lost, injected) = (read + whole, lost + PARTITIONS as usize - whole, injected + faults);
    }
    // Odds at which nothing ever goes wrong, or nothing ever works, would prove nothing.
    assert!(read > 0 && lost > 0 && injected > 0, "{read} read, {lost} lost, {injected} faults");
}

// One bad file must not keep a disk from being relieved.
#[tokio::test]
async fn a_file_that_is_damaged_or_cannot_be_read_stays_on_its_disk_and_the_others_move() {
    for is_damaged in [true, false] {
        let on_disk = |config: &mut Config| (config.disks, config.create_in) = (quota(64 << 20), Tier::Disk);
        let tiers = tiers(on_disk, u64::MAX).await;
        let worker = &tiers.cluster.workers[0];
        tiers.write(SHUFFLE).await;
        let bad = worker.disk.files().into_iter().find(|file| !file.ends_with("manifest")).unwrap();
        match is_damaged {
            true => worker.disk.damage(&bad, |bytes| bytes[100] ^= 1),
            false => worker.faults.always(&bad, Operation::Read, Fault::Error),
        }
        let source = tiers.write(shuffle(1)).await;
        let moving = Config { evict_from_percent: 2, evict_to_percent: 1, ..worker.config.clone() };
        worker.handle.reload(moving).unwrap();
        eventually("the other one moves", async || tiers.data_files() == 1).await;
        assert!(worker.disk.files().contains(&bad));
        tiers.assert_readable(shuffle(1), &source).await;
    }
}
