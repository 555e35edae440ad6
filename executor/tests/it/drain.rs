use std::time::Duration;

use penstock_executor::{Config, Parts, Status};
use penstock_protocol::{
    task::AttemptOutcome,
    wire::executor::{ToCoordinator, ToExecutor},
};

use crate::{
    coordinator::{Coordinator, Executor, attempt, soon},
    runner::Script,
};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_draining_executor_ends_what_it_runs_hands_back_what_comes_and_leaves() {
    let mut coordinator = Coordinator::start().await;
    let (script, mut seen) = Script::new();
    let executor = Executor::start(&coordinator, 2, script.clone()).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "wait").await;
    connection.run(attempt(0, 0, 0)).await;
    soon("the start", seen.started.recv()).await;

    let tasks = executor.tasks.clone();
    let stopped = tokio::spawn(async move { tasks.stop(LONG).await });
    assert_eq!(connection.next_word().await, Some(ToCoordinator::Draining));
    connection.run(attempt(0, 1, 0)).await;
    let handed_back = connection.report().await;
    assert_eq!((handed_back.attempt, handed_back.outcome), (attempt(0, 1, 0), AttemptOutcome::Cancelled));

    script.gate.add_permits(1);
    let report = connection.report().await;
    assert!(matches!(report.outcome, AttemptOutcome::Succeeded(_)));
    assert_eq!(executor.handle.status(), Status::Draining);
    for taken in [attempt(0, 1, 0), attempt(0, 0, 0)] {
        connection.say(ToExecutor::ReportTaken(taken)).await;
    }
    assert_eq!(connection.next_word().await, None);
    drop(connection);
    soon("the end", stopped).await.unwrap().unwrap();
    assert_eq!(executor.handle.status(), Status::Left);
}

#[tokio::test]
async fn attempts_that_outlive_the_drain_deadline_are_handed_back() {
    let mut coordinator = Coordinator::start().await;
    let (script, mut seen) = Script::new();
    let config = Config { slots: 1, drain_seconds: 0, ..Config::default() };
    let executor =
        Executor::start_with(&coordinator, config, Parts { runner: Some(script), ..Parts::default() }).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "wait").await;
    connection.run(attempt(0, 0, 0)).await;
    soon("the start", seen.started.recv()).await;

    let tasks = executor.tasks.clone();
    let stopped = tokio::spawn(async move { tasks.stop(LONG).await });
    assert_eq!(connection.next_word().await, Some(ToCoordinator::Draining));
    assert_eq!(connection.report().await.outcome, AttemptOutcome::Cancelled);
    assert_eq!(seen.dropped.try_recv(), Ok(attempt(0, 0, 0)));
    connection.say(ToExecutor::ReportTaken(attempt(0, 0, 0))).await;
    assert_eq!(connection.next_word().await, None);
    drop(connection);
    soon("the end", stopped).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_executor_leaves_at_once_even_without_a_coordinator() {
    let mut coordinator = Coordinator::start().await;
    let executor = Executor::start(&coordinator, 1, Script::new().0).await;
    let (connection, _) = coordinator.accept().await;
    soon("the end", executor.tasks.stop(LONG)).await.unwrap();
    assert_eq!(executor.handle.status(), Status::Left);
    drop(connection);
}
