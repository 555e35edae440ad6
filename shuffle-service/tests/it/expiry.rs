//! The end of a job's data.

use std::time::Duration;

use penstock_common::bytes::ByteSize;
use penstock_protocol::shuffle::PartitionSource;
use penstock_shuffle_client::FetchError;

use crate::cluster::{Cluster, JOB, SHUFFLE, Setup, cluster, eventually, payload, winner};

async fn stored() -> (Cluster, PartitionSource) {
    let cluster = cluster(Setup { workers: 1, memory: ByteSize::mib(8), ..Setup::default() }).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let batches = (0..60).map(|batch| (0, payload(0, 0, batch, 100_000)));
    let output = cluster.write(&target, 0, 0, batches).await.unwrap();
    let source = cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0);
    assert_ne!(cluster.workers[0].disk.files(), Vec::<std::path::PathBuf>::new());
    (cluster, source)
}

async fn is_expired(cluster: &Cluster, source: &PartitionSource) -> bool {
    match cluster.read(SHUFFLE, &[winner(0, 0)], source.clone()).await {
        Ok(_) => false,
        Err(FetchError::Lost { reason, .. }) => reason.contains("was released"),
        Err(other) => panic!("{other}"),
    }
}

// Invariant 22: no way leads from expired to zero rows.
#[tokio::test]
async fn a_released_job_leaves_nothing_behind_and_reads_as_expired() {
    let (cluster, source) = stored().await;
    cluster.owner.release_job(JOB).await.unwrap();
    assert!(is_expired(&cluster, &source).await);
    assert_eq!(cluster.workers[0].disk.files(), Vec::<std::path::PathBuf>::new());
    assert!(cluster.owner.reserve(SHUFFLE, 1).await.is_err());
}

#[tokio::test]
async fn a_job_whose_owner_is_gone_is_deleted_when_its_lease_ends() {
    let (cluster, source) = stored().await;
    // In steps, since the master does not count a time in which it heard nothing.
    eventually("the lease ends", async || {
        cluster.clock.advance(Duration::from_secs(10));
        is_expired(&cluster, &source).await
    })
    .await;
    eventually("the files go", async || cluster.workers[0].disk.files().is_empty()).await;
}

// Invariant 26: a new master deletes nothing by itself.
#[tokio::test]
async fn a_job_whose_owner_asks_for_it_stays() {
    let (cluster, source) = stored().await;
    for _ in 0..30 {
        cluster.clock.advance(Duration::from_secs(60));
        cluster.owner.keep_alive(&[JOB]).await.unwrap();
        assert!(!is_expired(&cluster, &source).await);
    }
}
