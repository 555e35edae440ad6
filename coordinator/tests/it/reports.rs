//! Reports of attempts: an executor forgets one when it is told to, so it must be in the journal by then.

use std::sync::Arc;

use penstock_common::clock::SystemClock;
use penstock_coordinator::{Parts, journal::Fact};
use penstock_protocol::{ids::AttemptId, pb::to_executor::Message};

use crate::{cluster::Cluster, executor::Executor, gated_store::GatedStore};

fn is_winner(fact: &Fact) -> bool {
    matches!(fact, Fact::Won { .. })
}

/// A report that has arrived, and whose winner the journal does not take before the store is opened.
async fn reported(store: &Arc<GatedStore>) -> (Cluster, Executor, AttemptId) {
    let parts = Parts { store: Some(store.clone()), ..Parts::default() };
    let cluster = Cluster::start_with_parts(Arc::new(SystemClock), parts, |_| {}).await;
    let mut executor = Executor::join(&cluster, "e1", 1).await;
    cluster.submit("select 1 as a").await;
    let (task, _) = executor.task().await;
    executor.answer(task.attempt, "a", vec![1]).await;
    store.held().await;
    (cluster, executor, task.attempt)
}

#[tokio::test]
async fn a_report_is_taken_once_its_winner_is_journaled() {
    let store = Arc::new(GatedStore::holding(is_winner));
    let (cluster, mut executor, attempt) = reported(&store).await;
    store.open();
    assert_eq!(executor.report_taken().await, Some(attempt));
    cluster.stop().await;
}

#[tokio::test]
async fn a_report_is_not_taken_before_its_winner_is_journaled() {
    let store = Arc::new(GatedStore::holding(is_winner));
    let (cluster, executor, _) = reported(&store).await;
    // Everything that was said to the executor while the journal waits, up to the end of the stream.
    let said = executor.hang_up().await;
    assert!(!said.iter().any(|message| matches!(message, Message::ReportTaken(_))), "{said:?}");
    store.open();
    cluster.stop().await;
}
