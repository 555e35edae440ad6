//! Connections that break at any byte: everything still arrives exactly once.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use penstock_common::bytes::ByteSize;
use penstock_shuffle_client::ClientOptions;

use crate::{
    cluster::{Cluster, SHUFFLE, Setup, by_partition, cluster, payload, winner},
    network::{Breaking, Limits},
};

const ANY: usize = usize::MAX;

async fn on(network: Arc<Breaking>) -> Cluster {
    let options = ClientOptions { frame_bytes: 5000, ..ClientOptions::default() };
    cluster(Setup { workers: 1, memory: ByteSize::mib(8), network, options, ..Setup::default() }).await
}

fn batches() -> Vec<(u32, Bytes)> {
    (0..60).map(|batch| (batch % 3, payload(0, batch % 3, batch, 1000 + 37 * batch as usize))).collect()
}

async fn exchange(network: Arc<Breaking>) {
    let cluster = on(network).await;
    let target = cluster.reserve(SHUFFLE, 3).await;
    let output = cluster.write(&target, 0, 0, batches()).await.unwrap();
    for source in cluster.sources(&target, &[winner(0, 0)], &[output]).await {
        let expected = by_partition(&batches()).remove(&source.partition.0).unwrap();
        assert_eq!(cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap(), expected);
    }
}

// Invariant 7: an unknown outcome is resent with identical bytes and ids. Invariant 8: what was torn leaves no batch.
// Invariant 18: whatever was stored twice is read once.
#[tokio::test]
async fn pushes_survive_connections_that_break_while_sending() {
    for write in [0, 1, 30, 60, 100, 5000, 7777, 20_000, 60_000] {
        let network =
            Breaking::new(vec![Limits { write, read: ANY }, Limits { write: write + 911, read: ANY }]);
        exchange(Arc::clone(&network)).await;
        assert!(network.connections.load(Ordering::SeqCst) >= 3);
    }
}

// The same for acknowledgements that do not arrive: every batch is stored, and sent again.
#[tokio::test]
async fn pushes_survive_connections_that_break_while_answers_come() {
    // A welcome has 12 bytes, an acknowledgement 8 and 12 for each answer.
    for read in [0, 5, 12, 13, 20, 32, 40] {
        let network = Breaking::new(vec![Limits { write: ANY, read }, Limits { write: ANY, read: read + 7 }]);
        exchange(Arc::clone(&network)).await;
        assert!(network.connections.load(Ordering::SeqCst) >= 3);
    }
}

// Invariant 18 for the reader: a stream that is opened again goes on where it stopped.
#[tokio::test]
async fn fetches_survive_connections_that_break_at_any_byte() {
    let fine = Limits { write: ANY, read: ANY };
    for read in [0, 3, 12, 20, 31, 1000, 8191, 30_000] {
        let broken = Limits { write: ANY, read };
        let network = Breaking::new(vec![fine, broken, broken, Limits { write: ANY, read: read + 4099 }]);
        exchange(Arc::clone(&network)).await;
        assert!(network.connections.load(Ordering::SeqCst) >= 4);
    }
}

#[tokio::test]
async fn a_worker_that_cannot_be_kept_in_touch_with_fails_the_attempt_in_the_end() {
    let network = Breaking::new(vec![Limits { write: 10, read: ANY }; 100]);
    let options = ClientOptions { connect_tries: 3, ..ClientOptions::default() };
    let cluster = cluster(Setup { workers: 1, network: network.clone(), options, ..Setup::default() }).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let error = cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap_err();
    assert!(matches!(error, penstock_shuffle_client::PushError::Unavailable { .. }), "{error}");
    assert_eq!(network.connections.load(Ordering::SeqCst), 3);
}
