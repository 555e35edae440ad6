//! Several disks: which one takes data, and what becomes of it when one is full, broken or does not answer.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use penstock_common::{bytes::ByteSize, grpc, net::Tcp};
use penstock_protocol::{
    pb::{ListWorkersRequest, shuffle_master_client::ShuffleMasterClient},
    shuffle::CommitVerdict,
};
use penstock_shuffle_client::{PushError, owner::OwnerError};
use penstock_shuffle_service::{
    disk::{Fault, Operation},
    worker::{Config, DiskClass, DiskConfig},
};

use crate::{
    cluster::{Cluster, SHUFFLE, Setup, cluster, eventually, payload, shuffle, winner},
    watch::Watch,
};

const BATCH: usize = 100_000;

/// A fast disk and a slow one, little memory, and a monitor that looks often.
fn two_disks() -> Setup {
    fn configure(config: &mut Config) {
        let disk = |path: &str, class| DiskConfig { path: path.into(), class, ..DiskConfig::default() };
        config.disks = vec![disk("slow", DiskClass::Hdd), disk("fast", DiskClass::Nvme)];
        config.disk_probe_interval_ms = 10;
        config.disk_hang_ms = 100;
        config.disk_errors_max = 2;
    }
    Setup { workers: 1, memory: ByteSize::mib(8), configure, ..Setup::default() }
}

fn batches(count: u32) -> impl Iterator<Item = (u32, Bytes)> {
    (0..count).map(|batch| (batch % 3, payload(0, batch % 3, batch, BATCH)))
}

fn files_below(cluster: &Cluster, folder: &str) -> Vec<PathBuf> {
    let files = cluster.workers[0].disk.files().into_iter();
    files.filter(|file| file.starts_with(folder)).collect()
}

/// The states of the disks as the master shows them.
pub async fn states(cluster: &Cluster) -> Vec<String> {
    let channel = grpc::channel(Arc::new(Tcp), &cluster.master.control.to_string());
    let mut master = ShuffleMasterClient::new(channel);
    let answer = master.list_workers(ListWorkersRequest {}).await.unwrap().into_inner();
    let usage = answer.workers[0].usage.clone().unwrap();
    usage.disks.into_iter().map(|disk| disk.state).collect()
}

async fn exchange(cluster: &Cluster, exchange: u32) {
    let id = shuffle(exchange);
    let target = cluster.reserve(id, 3).await;
    let output = cluster.write(&target, 0, 0, batches(120)).await.unwrap();
    for source in cluster.sources(&target, &[winner(0, 0)], &[output]).await {
        assert_eq!(cluster.read(id, &[winner(0, 0)], source).await.unwrap().len(), 40);
    }
}

#[tokio::test]
async fn data_goes_to_the_fast_disk_and_to_the_slow_one_when_that_is_broken() {
    let cluster = cluster(two_disks()).await;
    exchange(&cluster, 0).await;
    assert!(!files_below(&cluster, "fast").is_empty());
    assert!(files_below(&cluster, "slow").iter().all(|file| file.ends_with("manifest")));
    let faults = &cluster.workers[0].faults;
    faults.always("fast", Operation::Write, Fault::Error);
    eventually("the master hears of it", async || states(&cluster).await == ["HEALTHY", "FAILED"]).await;
    exchange(&cluster, 1).await;
    assert!(files_below(&cluster, "slow").iter().any(|file| !file.ends_with("manifest")));
    // It comes back by itself.
    faults.heal();
    eventually("the disk heals", async || states(&cluster).await == ["HEALTHY", "HEALTHY"]).await;
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_nothing_but_its_own_writes() {
    let cluster = cluster(two_disks()).await;
    let faults = &cluster.workers[0].faults;
    faults.always("fast", Operation::Write, Fault::Hang);
    eventually("it shows", async || states(&cluster).await == ["HEALTHY", "HUNG"]).await;
    exchange(&cluster, 0).await;
    assert!(files_below(&cluster, "fast").iter().all(|file| file.ends_with("manifest")));
    faults.heal();
    eventually("the disk heals", async || states(&cluster).await == ["HEALTHY", "HEALTHY"]).await;
}

// Invariant 27 and "all disks failed": refused by name, the worker stays up and says what is wrong.
#[tokio::test]
async fn a_worker_without_any_disk_that_works_refuses_and_serves_what_it_has() {
    let cluster = cluster(two_disks()).await;
    let target = cluster.reserve(SHUFFLE, 3).await;
    let output = cluster.write(&target, 0, 0, batches(120)).await.unwrap();
    let watch = Watch::start();
    let sources = cluster.sources(&target, &[winner(0, 0)], &[output]).await;
    let open = cluster.reserve(shuffle(1), 3).await;
    let faults = &cluster.workers[0].faults;
    for disk in ["slow", "fast"] {
        faults.always(disk, Operation::Write, Fault::Error);
    }
    eventually("both fail", async || states(&cluster).await == ["FAILED", "FAILED"]).await;
    let error = cluster.owner.reserve(shuffle(2), 1).await.unwrap_err();
    assert!(matches!(error, OwnerError::NoWorkers { .. } | OwnerError::Reserve { .. }), "{error}");
    let error = cluster.write(&open, 0, 0, batches(120)).await.unwrap_err();
    assert!(matches!(error, PushError::NoRoom { .. }), "{error}");
    assert!(watch.counter("penstock_shuffle_refused_batches_total", "NoRoom") > 0);
    // Each disk fails probe after probe, and that is told once.
    let told = watch.warnings().into_iter().filter(|line| line.contains("disk=")).count();
    assert_eq!(told, 2, "{:?}", watch.warnings());
    for source in sources {
        assert_eq!(cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap().len(), 40);
    }
    faults.heal();
    eventually("they heal", async || states(&cluster).await == ["HEALTHY", "HEALTHY"]).await;
    exchange(&cluster, 3).await;
}

// A full disk is not taken for corruption: what was accepted is kept, and more is refused by name.
#[tokio::test]
async fn what_full_disks_do_not_take_is_refused_and_what_was_accepted_is_kept() {
    let cluster = cluster(Setup { disk: 100, ..two_disks() }).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let mut writer = cluster.writer(&target, 0, 0).await;
    let mut refused = None;
    for batch in 0..200 {
        let payload = payload(0, 0, batch, BATCH);
        if let Err(error) = writer.push(target.locations[0].partition, BATCH as u32, payload).await {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("20 MB do not fit into 4");
    assert!(matches!(refused, PushError::NoRoom { .. }), "{refused}");
    let verdicts = cluster.commit(&target, &[]).await;
    assert!(matches!(verdicts[0].1, CommitVerdict::Committed { .. }), "{verdicts:?}");
    assert_eq!(states(&cluster).await, ["FULL", "FULL"]);
}
