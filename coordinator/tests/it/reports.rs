//! Reports of attempts: an executor forgets one when it is told to, so it must be in the journal by then.

use std::sync::Arc;

use penstock_common::clock::SystemClock;
use penstock_coordinator::{Parts, journal::Fact};
use penstock_protocol::pb::to_executor::Message;

use crate::{cluster::Cluster, executor::Executor, gated_store::GatedStore};

fn is_winner(fact: &Fact) -> bool {
    matches!(fact, Fact::Won { .. })
}

async fn cluster_over(store: &Arc<GatedStore>) -> Cluster {
    let parts = Parts { store: Some(store.clone()), ..Parts::default() };
    Cluster::start_with_parts(Arc::new(SystemClock), parts, |_| {}).await
}

#[tokio::test]
async fn a_report_is_taken_once_its_winner_is_journaled() {
    let store = Arc::new(GatedStore::holding(is_winner));
    let cluster = cluster_over(&store).await;
    let mut executor = Executor::join(&cluster, "e1", 1).await;
    cluster.submit("select 1 as a").await;
    let (task, _) = executor.task().await;
    executor.answer(task.attempt, "a", vec![1]).await;
    store.held().await;
    store.open();
    let taken = executor.report_taken().await;
    assert_eq!(taken, Some(task.attempt));
    cluster.stop().await;
}

#[tokio::test]
async fn a_report_is_not_taken_before_its_winner_is_journaled() {
    let store = Arc::new(GatedStore::holding(is_winner));
    let cluster = cluster_over(&store).await;
    let mut executor = Executor::join(&cluster, "e1", 1).await;
    cluster.submit("select 1 as a").await;
    let (task, _) = executor.task().await;
    executor.answer(task.attempt, "a", vec![1]).await;
    store.held().await;
    // Everything that was said to the executor while the journal waits, up to the end of the stream.
    let said = executor.hang_up().await;
    assert!(!said.iter().any(|message| matches!(message, Message::ReportTaken(_))), "{said:?}");
    store.open();
    cluster.stop().await;
}
