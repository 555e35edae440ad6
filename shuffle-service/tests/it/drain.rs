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
    cluster::{Cluster, JOB, SHUFFLE, Setup, by_partition, cluster, eventually, payload, shuffle, winner},
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
    // The others are not left by anybody.
    push(&mut writer, (1..ROUNDS).flat_map(round).filter(|(partition, _)| *partition < 2)).await;
    assert!(poll!(drained.as_mut()).is_pending(), "not everything is committed");
    push(&mut writer, (1..ROUNDS).flat_map(round).filter(|(partition, _)| *partition >= 2)).await;
    let output = writer.finish().await.unwrap();
    let new = cluster.reserve(shuffle(1), PARTITIONS).await;
    assert!(new.locations.iter().all(|location| location.worker.worker.as_str() == "w1"), "{new:?}");
    let all = cluster.ledger.all(SHUFFLE).unwrap();
    assert_eq!(commit_and_read(&cluster, &all, output).await, ["w0", "w1"]);
    drained.await;
}

// Invariants 5, 16 and 17: what writers have left is closed at once, and what was said then holds at the end of the shuffle,
// although no worker lives any more that said it.
#[tokio::test]
async fn all_workers_leave_in_turn_before_the_end_of_a_shuffle_and_come_back() {
    for copies in [1, 2] {
        let cluster = cluster(setup(3, copies)).await;
        let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
        let mut writer = cluster.writer(&target, 0, 0).await;
        push(&mut writer, round(0)).await;
        let (mut rounds, mut again) = (1, Vec::new());
        for worker in &cluster.workers {
            let leaving = worker.handle.clone();
            let mut drained = pin!(leaving.drain());
            while poll!(drained.as_mut()).is_pending() {
                push(&mut writer, round(rounds)).await;
                rounds += 1;
            }
            again.push(cluster.restart(worker, Arc::clone(&worker.disk)).await);
        }
        let output = writer.finish().await.unwrap();
        let all = cluster.ledger.all(SHUFFLE).unwrap();
        assert!(all.locations.len() > target.locations.len(), "{copies} copies: nobody left");
        let written = by_partition(&(0..rounds).flat_map(round).collect::<Vec<_>>());
        for source in cluster.sources(&all, &[winner(0, 0)], &[output]).await {
            let partition = source.partition.0;
            let read = cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap();
            assert!(read == written[&partition], "{copies} copies, partition {partition}");
        }
    }
}

// A writer waits as a new shuffle does.
#[tokio::test]
async fn writers_wait_while_every_worker_drains() {
    let cluster = cluster(setup(2, 2)).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let mut writer = cluster.writer(&target, 0, 0).await;
    push(&mut writer, round(0)).await;
    let admins: Vec<_> = cluster.workers.iter().map(|worker| worker.handle.admin.unwrap()).collect();
    for admin in &admins {
        assert_eq!(post(*admin, "/api/v1/decommission", json!({})).await.0, 200);
    }
    let output = {
        let mut write = pin!(async move {
            push(&mut writer, (1..ROUNDS).flat_map(round)).await;
            writer.finish().await
        });
        let master = cluster.master.admin.unwrap();
        let all_drain = async || {
            let view = get(master, "/api/v1/workers").await;
            view["workers"].as_array().unwrap().iter().all(|worker| worker["draining"] == true)
        };
        tokio::select! {
            written = &mut write => panic!("{written:?} although nobody takes anything"),
            () = eventually("the master knows", all_drain) => {}
        }
        assert!(poll!(write.as_mut()).is_pending());
        assert_eq!(post(admins[1], "/api/v1/recommission", json!({})).await.0, 200);
        write.await.unwrap()
    };
    let all = cluster.ledger.all(SHUFFLE).unwrap();
    commit_and_read(&cluster, &all, output).await;
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
