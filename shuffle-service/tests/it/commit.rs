//! Reservations and commits as the owner sees them.

use bytes::Bytes;
use penstock_protocol::{commit::CommitLoss, shuffle::CommitVerdict};
use penstock_shuffle_client::{
    FetchError, PushError,
    owner::{IncompleteError, OwnerError, sources},
};

use crate::cluster::{SHUFFLE, Setup, cluster, payload, shuffle, winner};

// Invariants 2, 5 and 12: no acknowledgement after the commit, nothing of it becomes visible, and asked again the workers
// answer the same.
#[tokio::test]
async fn a_late_attempt_is_refused_and_changes_nothing() {
    let cluster = cluster(Setup::default()).await;
    let target = cluster.reserve(SHUFFLE, 2).await;
    let winners = [winner(0, 0)];
    let output = cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 10))]).await.unwrap();
    let first = cluster.commit(&target, &winners).await;
    let late = cluster.write(&target, 0, 1, [(0, payload(9, 9, 9, 10))]).await.unwrap_err();
    assert!(matches!(late, PushError::Unavailable { .. }), "{late}");
    assert_eq!(cluster.commit(&target, &winners).await, first);
    let source = sources(SHUFFLE, &first, &[output]).unwrap().remove(0);
    assert_eq!(cluster.read(SHUFFLE, &winners, source).await.unwrap(), [payload(0, 0, 0, 10)]);
}

// Invariants 4 and 14: a location whose worker is gone has failed, the others keep their verdicts, and the shuffle as a
// whole is not complete.
#[tokio::test]
async fn a_commit_answers_for_every_location_when_a_worker_is_gone() {
    let cluster = cluster(Setup::default()).await;
    let target = cluster.reserve(SHUFFLE, 4).await;
    let output = cluster.write(&target, 0, 0, (0..4).map(|p| (p, payload(0, p, 0, 10)))).await.unwrap();
    cluster.workers[1].stop().await;
    let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
    assert_eq!(verdicts.len(), 4);
    for (location, verdict) in &verdicts {
        let on_the_lost_one = location.worker.worker == cluster.workers[1].handle.address.worker;
        assert_eq!(!verdict.is_promise(), on_the_lost_one, "{verdict:?}");
    }
    assert!(matches!(
        sources(SHUFFLE, &verdicts, &[output]),
        Err(IncompleteError { loss: CommitLoss::Lost { .. }, .. })
    ));
}

// Invariant 4: unknown is failed.
#[tokio::test]
async fn a_commit_of_something_never_reserved_fails() {
    let cluster = cluster(Setup::default()).await;
    let mut target = (*cluster.reserve(SHUFFLE, 2).await).clone();
    target.shuffle = shuffle(7);
    let verdicts = cluster.commit(&target, &[]).await;
    assert!(verdicts.iter().all(|(_, verdict)| matches!(verdict, CommitVerdict::Failed { .. })));
}

// Invariant 15: a reservation that failed on one worker is destroyed on all.
#[tokio::test]
async fn a_reservation_that_one_worker_refuses_leaves_nothing_reserved() {
    let cluster = cluster(Setup { locations_max: 3, ..Setup::default() }).await;
    let error = cluster.owner.reserve(SHUFFLE, 7).await.unwrap_err();
    assert!(matches!(error, OwnerError::Reserve { .. } | OwnerError::NoWorkers { .. }), "{error}");
    // Both have all their room again.
    let target = cluster.reserve(SHUFFLE, 6).await;
    assert_eq!(target.locations.len(), 6);
}

// Invariant 22: a location that is not committed yet is not read as empty.
#[tokio::test]
async fn reading_before_the_commit_is_refused() {
    let cluster = cluster(Setup::default()).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let output = cluster.write(&target, 0, 0, [(0, Bytes::from_static(b"x"))]).await.unwrap();
    let source = penstock_protocol::shuffle::PartitionSource {
        partition: target.locations[0].partition,
        locations: target.locations.clone(),
        totals: output.partitions[0].1,
    };
    let error = cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn without_a_worker_the_error_says_so() {
    let cluster = cluster(Setup { workers: 0, ..Setup::default() }).await;
    let reserve = cluster.owner.reserve(SHUFFLE, 1);
    tokio::time::pause();
    let error = reserve.await.unwrap_err();
    assert!(error.to_string().starts_with("no shuffle worker takes new data"), "{error}");
}
