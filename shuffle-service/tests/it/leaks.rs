//! What is left of jobs that have ended, whatever became of them: no memory, no file, no connection.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use penstock_common::{
    bytes::ByteSize,
    grpc,
    lifecycle::Tasks,
    net::{Network, Tcp},
};
use penstock_protocol::{
    frame::write_all,
    ids::{JobId, PartitionIndex, ShuffleId},
    pb::{ListWorkersRequest, shuffle_master_client::ShuffleMasterClient},
};
use penstock_shuffle_client::{ClientOptions, ShuffleClient};
use uuid::Uuid;

use crate::{
    cluster::{Cluster, SHUFFLE, Setup, attempt, cluster, eventually, payload, winner},
    watch::Watch,
};

const BATCH: usize = 100_000;

/// What becomes of a job.
#[derive(Debug, Clone, Copy)]
enum End {
    Read,
    NeverRead,
    LeftWhilePushing,
    LeftWhileReading,
    ReleasedWhileReading,
}

fn batches() -> impl Iterator<Item = (u32, Bytes)> {
    (0..90).map(|batch| (batch % 3, payload(0, batch % 3, batch, BATCH)))
}

/// Runs one job with a client of its own, and releases it.
async fn run(cluster: &Cluster, id: ShuffleId, end: End) {
    let tasks = Tasks::new("client");
    let (network, options) = (Arc::new(Tcp), ClientOptions::default());
    let client = ShuffleClient::with_reviver(network, options, cluster.ledger.clone(), tasks.clone());
    push_and_read(cluster, &client, id, end).await;
    tasks.stop(Duration::from_secs(10)).await.unwrap();
    cluster.owner.release_job(id.job).await.unwrap();
}

async fn push_and_read(cluster: &Cluster, client: &ShuffleClient, id: ShuffleId, end: End) {
    let target = cluster.reserve(id, 3).await;
    let mut writer = client.writer(attempt(0, 0), Arc::clone(&target)).await.unwrap();
    let pushed = if matches!(end, End::LeftWhilePushing) { 40 } else { 90 };
    for (partition, payload) in batches().take(pushed) {
        writer.push(PartitionIndex(partition), 1, payload).await.unwrap();
    }
    if matches!(end, End::LeftWhilePushing) {
        return;
    }
    let output = writer.finish().await.unwrap();
    let source = cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0);
    let mut stream = pin!(client.read(id, [winner(0, 0)].into(), source));
    match end {
        End::NeverRead => {}
        End::Read => assert_eq!(stream.count().await, 30),
        _ => {
            stream.next().await.unwrap().unwrap();
        }
    }
    if matches!(end, End::ReleasedWhileReading) {
        cluster.owner.release_job(id.job).await.unwrap();
    }
}

/// Bytes of memory, locations and files of all workers.
async fn held(cluster: &Cluster) -> (u64, u64, usize) {
    let channel = grpc::channel(Arc::new(Tcp), &cluster.master.control.to_string());
    let answer = ShuffleMasterClient::new(channel).list_workers(ListWorkersRequest {}).await.unwrap();
    let usages = answer.into_inner().workers.into_iter().map(|worker| worker.usage.unwrap());
    let files = cluster.workers.iter().map(|worker| worker.disk.files().len()).sum();
    usages.fold((0, 0, files), |(memory, locations, files), usage| {
        (memory + usage.memory_used_bytes, locations + usage.locations, files)
    })
}

async fn send_garbage(cluster: &Cluster) {
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[255; 70_000], &[16, 0, 0, 0]] {
        for worker in &cluster.workers {
            let mut stream = Tcp.connect(&worker.handle.address.data).await.unwrap();
            // The worker may have closed the connection before it took everything.
            let _ = write_all(&mut stream, &[Bytes::from_static(garbage)]).await;
        }
    }
}

#[tokio::test]
async fn memory_files_and_connections_are_back_whatever_becomes_of_jobs() {
    let watch = Watch::start();
    let cluster = cluster(Setup { memory: ByteSize::mib(16), ..Setup::replicated(2) }).await;
    let ends =
        [End::Read, End::NeverRead, End::LeftWhilePushing, End::LeftWhileReading, End::ReleasedWhileReading];
    for (number, end) in (1..).zip(ends.into_iter().cycle().take(15)) {
        run(&cluster, ShuffleId { job: JobId(Uuid::from_u128(number)), ..SHUFFLE }, end).await;
    }
    assert!(cluster.disk_writes() > 0, "nothing went to disk");
    send_garbage(&cluster).await;
    eventually("everything is released", async || held(&cluster).await == (0, 0, 0)).await;
    let mut open = 0.0;
    eventually("all connections are closed", async || {
        open += watch.gauge_change("penstock_shuffle_connections");
        open == 0.0
    })
    .await;
}
