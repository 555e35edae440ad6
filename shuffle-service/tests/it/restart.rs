//! Workers that come back, and workers that do not.

use std::{sync::Arc, time::Duration};

use penstock_protocol::shuffle::CommitVerdict;
use penstock_shuffle_client::{ClientOptions, FetchError, PushError};

use crate::cluster::{Cluster, SHUFFLE, Setup, Worker, cluster, payload, shuffle, winner};

async fn restart(cluster: &Cluster, worker: &Worker) -> Worker {
    worker.stop().await;
    cluster.clock.advance(Duration::from_secs(1));
    let mut config = worker.config.clone();
    // The same addresses, as a restarted process of a deployment has.
    config.control_listen = worker.handle.control.to_string();
    config.data_listen = worker.handle.data.to_string();
    cluster.start(config, Arc::clone(&worker.disk)).await
}

fn one_worker() -> Setup {
    let options = ClientOptions { connect_tries: 2, ..ClientOptions::default() };
    Setup { workers: 1, options, ..Setup::default() }
}

// Invariant 16: a restarted worker never answers for its former life, neither with data nor with "empty".
#[tokio::test]
async fn a_restarted_worker_answers_nothing_for_its_former_life() {
    let cluster = cluster(one_worker()).await;
    let target = cluster.reserve(SHUFFLE, 2).await;
    let output = cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
    let sources = cluster.sources(&target, &[winner(0, 0)], &[output]).await;
    let open = cluster.reserve(shuffle(1), 1).await;

    let again = restart(&cluster, &cluster.workers[0]).await;
    assert_eq!(again.handle.address.data, cluster.workers[0].handle.address.data);
    assert_ne!(again.handle.address.incarnation, cluster.workers[0].handle.address.incarnation);

    let error = cluster.read(SHUFFLE, &[winner(0, 0)], sources[0].clone()).await.unwrap_err();
    assert!(matches!(error, FetchError::Lost { .. }), "{error}");
    let error = cluster.write(&open, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap_err();
    assert!(matches!(error, PushError::Lost { .. }), "{error}");
    for target in [&target, &open] {
        let verdicts = cluster.commit(target, &[winner(0, 0)]).await;
        assert!(
            verdicts.iter().all(|(_, verdict)| matches!(verdict, CommitVerdict::Failed { .. })),
            "{verdicts:?}"
        );
    }
    // The new life takes new work.
    let target = cluster.reserve(shuffle(2), 1).await;
    cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
}

// Invariant 16: not even when the new life knows a shuffle of the same name.
#[tokio::test]
async fn a_commit_that_means_a_former_life_fails_although_the_new_one_holds_the_shuffle() {
    let cluster = cluster(one_worker()).await;
    let former = cluster.reserve(SHUFFLE, 1).await;
    let _again = restart(&cluster, &cluster.workers[0]).await;
    let present = cluster.reserve(SHUFFLE, 1).await;
    let verdicts = cluster.commit(&former, &[]).await;
    assert!(matches!(verdicts[0].1, CommitVerdict::Failed { .. }), "{verdicts:?}");
    assert_eq!(cluster.commit(&present, &[]).await[0].1, CommitVerdict::Empty);
}

#[tokio::test]
async fn a_worker_that_is_gone_makes_pushes_and_fetches_fail_within_their_tries() {
    let cluster = cluster(one_worker()).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let output = cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
    let sources = cluster.sources(&target, &[winner(0, 0)], &[output]).await;
    cluster.workers[0].stop().await;
    let error = cluster.read(SHUFFLE, &[winner(0, 0)], sources[0].clone()).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable { .. }), "{error}");
    let error = cluster.write(&target, 0, 1, [(0, payload(0, 0, 0, 100))]).await.unwrap_err();
    assert!(matches!(error, PushError::Unavailable { .. }), "{error}");
}
