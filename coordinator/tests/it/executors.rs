//! Executors that come, go and do not belong.

use penstock_protocol::pb::to_executor::Message;

use crate::{
    cluster::Cluster,
    executor::{Executor, hello},
};

#[tokio::test]
async fn an_executor_of_another_build_is_refused_and_told_why() {
    let cluster = Cluster::start().await;
    let stranger = penstock_protocol::pb::Hello { build: "0.0.1+other".into(), ..hello("e1", 1) };
    let mut executor = Executor::open(&cluster, stranger).await;
    let Some(Message::Refused(refused)) = executor.next().await else { panic!("is not refused") };
    assert!(
        refused.reason.contains("0.0.1+other") && refused.reason.contains("same penstock binary"),
        "{}",
        refused.reason
    );
    assert!(executor.next().await.is_none(), "the stream ends");
    let executors = cluster.get("/api/v1/executors").await.body;
    assert!(executors["executors"].as_array().unwrap().is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn connected_executors_are_listed_with_their_slots() {
    let cluster = Cluster::start().await;
    let _executor = Executor::join(&cluster, "e1", 3).await;
    let executors = cluster.get("/api/v1/executors").await.body;
    assert_eq!(executors["executors"][0]["executor"], "e1");
    assert_eq!(executors["executors"][0]["slots"], 3);
    assert_eq!(executors["executors"][0]["state"], "ACTIVE");
    cluster.stop().await;
}

#[tokio::test]
async fn a_task_of_an_executor_that_died_runs_again_elsewhere() {
    let cluster = Cluster::start().await;
    let mut first = Executor::join(&cluster, "e1", 1).await;
    let job = cluster.submit("select 1 as a").await;
    let (task, _) = first.task().await;
    let mut second = Executor::join(&cluster, "e2", 1).await;
    drop(first);
    let (again, definition) = second.task().await;
    assert_eq!(again.attempt.task, task.attempt.task);
    assert!(definition.is_some(), "the other executor gets the stage too");
    second.answer(again.attempt, "a", vec![1]).await;
    assert_eq!(cluster.ended(&job).await["state"], "SUCCEEDED");
    cluster.stop().await;
}
