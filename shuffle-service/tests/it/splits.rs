//! Locations that grow too large, and partitions that move.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use penstock_common::{bytes::ByteSize, lifecycle::Tasks, net::Tcp};
use penstock_protocol::{
    ids::{Epoch, PartitionIndex},
    shuffle::{EpochEnd, Location},
};
use penstock_shuffle_client::{ClientOptions, NotRevived, PushError, ReviveRequest, Reviver, ShuffleClient};
use penstock_shuffle_service::worker::Config;

use crate::{
    cluster::{Cluster, SHUFFLE, Setup, attempt, cluster, payload, winner},
    network::{Breaking, Limits},
};

const PARTITIONS: u32 = 3;

fn batches(map: u32, count: u32) -> impl Iterator<Item = (u32, Bytes)> {
    (0..count)
        .map(move |batch| (batch % PARTITIONS, payload(map, batch % PARTITIONS, batch, 500 + batch as usize)))
}

fn small(split_from: u64, copies: u32) -> Setup {
    let options = ClientOptions { frame_bytes: 3000, ..ClientOptions::default() };
    Setup { split_from, copies, options, ..Setup::replicated(3) }
}

/// Four maps at the same time; returns how many epochs there were.
async fn exchange(cluster: &Cluster) -> usize {
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let maps = (0..4).map(|map| cluster.write(&target, map, 0, batches(map, 90)));
    let outputs: Vec<_> = futures::future::join_all(maps).await.into_iter().map(Result::unwrap).collect();
    let winners = [0, 1, 2, 3].map(|map| winner(map, 0));
    let mut epochs = 0;
    for source in cluster.sources(&target, &winners, &outputs).await {
        assert!(source.locations.is_sorted_by_key(|location| location.epoch));
        epochs += source.locations.len();
        let partition = source.partition.0;
        let read = cluster.read(SHUFFLE, &winners, source).await.unwrap();
        for map in 0..4_u32 {
            let of_map: Vec<_> =
                read.iter().filter(|batch| batch.starts_with(&map.to_le_bytes())).cloned().collect();
            let expected: Vec<_> =
                batches(map, 90).filter(|(p, _)| *p == partition).map(|(_, payload)| payload).collect();
            assert_eq!(of_map, expected, "map {map}, partition {partition}: each batch once, in its order");
        }
    }
    epochs
}

// Invariants 6, 7, 13, 17 and 18: soft splits lose nothing and keep the order of each map.
#[tokio::test]
async fn a_partition_that_grows_goes_on_in_new_epochs() {
    for copies in [1, 2] {
        let cluster = cluster(small(8000, copies)).await;
        let epochs = exchange(&cluster).await;
        assert!(epochs > 2 * PARTITIONS as usize, "{epochs} epochs with {copies} copies");
    }
}

// The same with connections that break at any byte, so that what became of many batches is not known.
#[tokio::test]
async fn splits_and_broken_connections_together_keep_every_batch_once_and_in_order() {
    for seed in 0..12_usize {
        let limits = (0..12).map(|nth| Limits {
            write: 500 + (seed * 7919 + nth * 104_729) % 40_000,
            read: if nth % 3 == 0 { 12 + (seed * 31 + nth * 17) % 200 } else { usize::MAX },
        });
        let network = Breaking::new(limits.collect());
        let cluster = cluster(Setup { network, ..small(12_000, 1 + seed as u32 % 2) }).await;
        exchange(&cluster).await;
    }
}

// A full epoch is no failure: each has taken a batch of somebody. Here none takes more than one per map and partition.
#[tokio::test]
async fn a_batch_waits_for_its_turn_through_any_number_of_full_epochs() {
    let cluster = cluster(small(1, 1)).await;
    let epochs = exchange(&cluster).await;
    assert!(epochs > 6 * PARTITIONS as usize, "{epochs} epochs");
}

// A client without anybody to ask goes on in the old epoch as long as that takes batches.
#[tokio::test]
async fn a_wish_to_split_is_not_an_order() {
    let cluster = cluster(Setup { revive: false, ..small(40_000, 1) }).await;
    assert_eq!(exchange(&cluster).await, PARTITIONS as usize);
}

#[tokio::test]
async fn a_full_location_fails_a_client_that_cannot_move() {
    let cluster = cluster(Setup { revive: false, ..small(1000, 1) }).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let error = cluster.write(&target, 0, 0, batches(0, 90)).await.unwrap_err();
    assert!(matches!(error, PushError::Unavailable { .. }), "{error}");
}

/// Gives every partition a new epoch that nobody reserved.
#[derive(Debug)]
struct Misleading {
    location: Location,
    /// What it was told.
    reasons: Mutex<Vec<EpochEnd>>,
}

impl Reviver for Misleading {
    fn revive(&self, request: ReviveRequest) -> BoxFuture<'_, Result<Vec<Location>, NotRevived>> {
        self.reasons.lock().unwrap().extend(request.ended.iter().map(|ended| ended.why));
        let next = |ended: &penstock_protocol::shuffle::EndedEpoch| Location {
            partition: ended.partition,
            epoch: Epoch(ended.epoch.0 + 1),
            ..self.location.clone()
        };
        let moved = request.ended.iter().map(next).collect();
        async move { Ok(moved) }.boxed()
    }
}

// Five revives of one batch fail the attempt. Whoever is asked hears why, and what it took is counted.
#[tokio::test]
async fn a_batch_that_nobody_takes_fails_its_attempt_after_five_epochs() {
    let cluster = cluster(Setup::replicated(2)).await;
    let mut target = (*cluster.reserve(SHUFFLE, 1).await).clone();
    target.locations[0].epoch = Epoch(7);
    let reviver = Arc::new(Misleading { location: target.locations[0].clone(), reasons: Mutex::default() });
    let tasks = Tasks::new("client");
    let client =
        ShuffleClient::with_reviver(Arc::new(Tcp), ClientOptions::default(), reviver.clone(), tasks.clone());
    let mut writer = client.writer(attempt(0, 0), Arc::new(target)).await.unwrap();
    writer.push(PartitionIndex(0), 1, Bytes::from_static(b"x")).await.unwrap();
    let effort = writer.effort();
    assert!(matches!(writer.finish().await, Err(PushError::Lost { .. })));
    assert_eq!(*reviver.reasons.lock().unwrap(), [EpochEnd::WorkerLost; 5]);
    assert_eq!(
        effort.named(),
        [("pushes", 6), ("pushes_resent", 0), ("batches_revived", 5), ("partitions_moved", 5)]
    );
    tasks.stop_token().cancel();
}

#[tokio::test]
async fn another_size_to_split_from_counts_for_what_is_reserved_from_then_on() {
    let cluster = cluster(small(1 << 30, 1)).await;
    for worker in &cluster.workers {
        let config = Config { split_from_bytes: ByteSize(8000), ..worker.config.clone() };
        assert_eq!(worker.handle.reload(config).unwrap().changed, ["split_from_bytes"]);
    }
    let epochs = exchange(&cluster).await;
    assert!(epochs > 2 * PARTITIONS as usize, "{epochs} epochs");
}
