//! Workers that leave: what is written goes elsewhere, what is here is committed and read.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use bytes::Bytes;
use futures::poll;
use penstock_protocol::{
    ids::PartitionIndex,
    shuffle::{MapOutput, ShuffleTarget},
};
use penstock_shuffle_client::{ClientOptions, Writer};
use serde_json::json;

use crate::{
    cluster::{Cluster, JOB, SHUFFLE, Setup, by_partition, cluster, payload, shuffle, winner},
    http::{get, post},
};

const PARTITIONS: u32 = 4;
const ROUNDS: u32 = 6;

/// Each batch is sent at once.
fn setup(workers: usize, copies: u32) -> Setup {
    let options = ClientOptions { frame_bytes: 1, ..ClientOptions::default() };
    let configure = |config: &mut penstock_shuffle_service::worker::Config| {
        config.admin_listen = "127.0.0.1:0".into();
    };
    Setup { workers, copies, options, configure, ..Setup::replicated(workers) }
}

fn round(round: u32) -> impl Iterator<Item = (u32, Bytes)> {
    (0..PARTITIONS).map(move |partition| (partition, payload(0, partition, round, 100)))
}

fn everything() -> BTreeMap<u32, Vec<Bytes>> {
    by_partition(&(0..ROUNDS).flat_map(round).collect::<Vec<_>>())
}

async fn push(writer: &mut Writer, batches: impl Iterator<Item = (u32, Bytes)>) {
    for (partition, payload) in batches {
        writer.push(PartitionIndex(partition), payload.len() as u32, payload).await.unwrap();
    }
}

/// Waits until a worker has got something.
async fn until_pushed_to(cluster: &Cluster, worker: usize) {
    let admin = cluster.workers[worker].handle.admin.unwrap();
    while get(admin, "/api/v1/worker").await["memory_used_bytes"] == 0 {}
}

/// Commits; reads everything; names the workers on which anything was written.
async fn commit_and_read(cluster: &Cluster, target: &ShuffleTarget, output: MapOutput) -> Vec<String> {
    let mut workers = Vec::new();
    for source in cluster.sources(target, &[winner(0, 0)], &[output]).await {
        workers.extend(source.locations.iter().map(|location| location.worker.worker.to_string()));
        let partition = source.partition.0;
        let read = cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap();
        assert_eq!(read, everything()[&partition], "partition {partition}: each batch once, in its order");
    }
    workers.sort();
    workers.dedup();
    workers
}

// Invariants 6, 13 and 18: a worker that drains refuses, and its clients go on in new epochs elsewhere.
#[tokio::test]
async fn writers_leave_a_worker_that_is_decommissioned_and_what_it_has_is_committed_and_read() {
    for copies in [1, 2] {
        let cluster = cluster(setup(3, copies)).await;
        let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
        let mut writer = cluster.writer(&target, 0, 0).await;
        push(&mut writer, round(0)).await;
        until_pushed_to(&cluster, 0).await;
        let own = cluster.workers[0].handle.admin.unwrap();
        assert_eq!(post(own, "/api/v1/decommission", json!({})).await.0, 200);
        push(&mut writer, (1..ROUNDS).flat_map(round)).await;
        let output = writer.finish().await.unwrap();
        let all = cluster.ledger.all(SHUFFLE).unwrap();
        let later = all.locations.iter().filter(|location| location.epoch.0 > 0);
        let later: Vec<_> = later.flat_map(|location| location.copies()).collect();
        assert!(!later.is_empty(), "{copies} copies: nobody left");
        assert!(later.iter().all(|copy| copy.worker.worker.as_str() != "w0"), "{later:?}");
        let workers = commit_and_read(&cluster, &all, output).await;
        assert!(workers.contains(&"w0".to_owned()), "{copies} copies: {workers:?}");
    }
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_waits_for_the_commits_of_what_it_has_taken() {
    let cluster = cluster(setup(2, 1)).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let mut writer = cluster.writer(&target, 0, 0).await;
    push(&mut writer, round(0)).await;
    until_pushed_to(&cluster, 0).await;
    let leaving = cluster.workers[0].handle.clone();
    let mut drained = pin!(leaving.drain());
    assert!(poll!(drained.as_mut()).is_pending(), "somebody writes there");
    push(&mut writer, (1..ROUNDS).flat_map(round)).await;
    let output = writer.finish().await.unwrap();
    assert!(poll!(drained.as_mut()).is_pending(), "nothing is committed");
    let new = cluster.reserve(shuffle(1), PARTITIONS).await;
    assert!(new.locations.iter().all(|location| location.worker.worker.as_str() == "w1"), "{new:?}");
    let all = cluster.ledger.all(SHUFFLE).unwrap();
    assert_eq!(commit_and_read(&cluster, &all, output).await, ["w0", "w1"]);
    drained.await;
}

// Nothing of it survives the stop, so those who read it come first.
#[tokio::test]
async fn a_worker_that_keeps_nothing_waits_until_its_data_is_released() {
    let configure = |config: &mut penstock_shuffle_service::worker::Config| config.keep_data = false;
    let cluster = cluster(Setup { configure, ..setup(1, 1) }).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let batches = (0..ROUNDS).flat_map(round);
    let output = cluster.write(&target, 0, 0, batches).await.unwrap();
    let all = Arc::clone(&target);
    commit_and_read(&cluster, &all, output).await;
    let leaving = cluster.workers[0].handle.clone();
    let mut drained = pin!(leaving.drain());
    assert!(poll!(drained.as_mut()).is_pending(), "it is committed and wanted");
    cluster.owner.release_job(JOB).await.unwrap();
    drained.await;
}

#[tokio::test]
async fn a_worker_does_not_wait_longer_than_it_is_told_to() {
    let configure = |config: &mut penstock_shuffle_service::worker::Config| config.drain_seconds = 0;
    let cluster = cluster(Setup { configure, ..setup(1, 1) }).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let mut writer = cluster.writer(&target, 0, 0).await;
    push(&mut writer, round(0)).await;
    cluster.workers[0].handle.drain().await;
}
