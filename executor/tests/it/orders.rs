use std::sync::atomic::Ordering;

use penstock_protocol::{
    task::{AttemptOutcome, FailureClass},
    wire::executor::{ToCoordinator, ToExecutor},
};

use crate::{
    coordinator::{Coordinator, Executor, attempt, job, soon},
    runner::{Script, failure, output},
};

#[tokio::test]
async fn a_task_runs_and_its_output_is_reported_with_its_metrics() {
    let mut coordinator = Coordinator::start().await;
    let _executor = Executor::start(&coordinator, 1, Script::new().0).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "succeed").await;
    connection.run(attempt(0, 0, 0)).await;
    let report = connection.report().await;
    assert_eq!(report.attempt, attempt(0, 0, 0));
    assert_eq!(report.outcome, AttemptOutcome::Succeeded(output(attempt(0, 0, 0))));
    assert_eq!(report.metrics.rows_out, 7);
}

#[tokio::test]
async fn a_failure_is_reported_as_it_is() {
    let mut coordinator = Coordinator::start().await;
    let _executor = Executor::start(&coordinator, 1, Script::new().0).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "fail").await;
    connection.run(attempt(0, 0, 0)).await;
    assert_eq!(connection.report().await.outcome, AttemptOutcome::Failed(failure()));
}

#[tokio::test]
async fn tasks_of_one_stage_share_what_was_prepared() {
    let mut coordinator = Coordinator::start().await;
    let (script, _seen) = Script::new();
    let _executor = Executor::start(&coordinator, 1, script.clone()).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "succeed").await;
    for task in 0..3 {
        connection.run(attempt(0, task, 0)).await;
        assert_eq!(connection.report().await.attempt, attempt(0, task, 0));
    }
    assert_eq!(script.prepared.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn cancelling_drops_the_attempt_and_frees_its_slot() {
    let mut coordinator = Coordinator::start().await;
    let (script, mut seen) = Script::new();
    let _executor = Executor::start(&coordinator, 1, script).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "wait").await;
    connection.define(1, "succeed").await;
    connection.run(attempt(0, 0, 0)).await;
    soon("the start", seen.started.recv()).await;
    connection.say(ToExecutor::Cancel(attempt(0, 0, 0))).await;
    let report = connection.report().await;
    assert_eq!((report.attempt, report.outcome), (attempt(0, 0, 0), AttemptOutcome::Cancelled));
    assert_eq!(seen.dropped.try_recv(), Ok(attempt(0, 0, 0)));
    connection.run(attempt(1, 0, 0)).await;
    assert!(matches!(connection.report().await.outcome, AttemptOutcome::Succeeded(_)));
}

#[tokio::test]
async fn the_end_of_a_job_ends_its_attempts() {
    let mut coordinator = Coordinator::start().await;
    let (script, mut seen) = Script::new();
    let _executor = Executor::start(&coordinator, 1, script).await;
    let (connection, _) = coordinator.welcome().await;
    connection.define(0, "wait").await;
    connection.run(attempt(0, 0, 0)).await;
    soon("the start", seen.started.recv()).await;
    connection.say(ToExecutor::ForgetJob(job())).await;
    assert_eq!(soon("the end", seen.dropped.recv()).await, Some(attempt(0, 0, 0)));
}

#[tokio::test]
async fn an_order_that_comes_twice_is_carried_out_once() {
    let mut coordinator = Coordinator::start().await;
    let (script, mut seen) = Script::new();
    let _executor = Executor::start(&coordinator, 2, script.clone()).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "wait").await;
    connection.run(attempt(0, 0, 0)).await;
    connection.run(attempt(0, 0, 0)).await;
    connection.run(attempt(0, 1, 0)).await;
    assert_eq!(soon("the start", seen.started.recv()).await, Some(attempt(0, 0, 0)));
    assert_eq!(soon("the other start", seen.started.recv()).await, Some(attempt(0, 1, 0)));
    script.gate.add_permits(2);
    let mut ended = [connection.report().await.attempt, connection.report().await.attempt];
    ended.sort();
    assert_eq!(ended, [attempt(0, 0, 0), attempt(0, 1, 0)]);
    // Not taken yet, so it is known as done.
    connection.run(attempt(0, 0, 0)).await;
    connection.define(1, "succeed").await;
    connection.run(attempt(1, 0, 0)).await;
    assert_eq!(connection.report().await.attempt, attempt(1, 0, 0));
    assert!(seen.started.try_recv().is_err());
}

#[tokio::test]
async fn what_cannot_start_is_refused_with_a_reason_and_may_run_elsewhere() {
    let mut coordinator = Coordinator::start().await;
    let (script, mut seen) = Script::new();
    let _executor = Executor::start(&coordinator, 1, script).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "wait").await;
    connection.run(attempt(0, 0, 0)).await;
    soon("the start", seen.started.recv()).await;
    for (refused, reason) in [
        (attempt(0, 1, 0), "all 1 slots of this executor are taken"),
        (attempt(9, 0, 0), "stage 9 was not defined to this executor"),
    ] {
        connection.run(refused).await;
        let report = connection.report().await;
        let AttemptOutcome::Failed(failure) = report.outcome else { panic!("{report:?}") };
        assert_eq!((report.attempt, failure.class), (refused, FailureClass::Infrastructure));
        assert_eq!(failure.message, reason);
    }
}

#[tokio::test]
async fn heartbeats_say_what_runs() {
    let mut coordinator = Coordinator::start().await;
    let (script, mut seen) = Script::new();
    let _executor = Executor::start(&coordinator, 1, script).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "wait").await;
    connection.run(attempt(0, 0, 0)).await;
    soon("the start", seen.started.recv()).await;
    loop {
        match connection.next().await {
            Some(ToCoordinator::Heartbeat(heartbeat)) if heartbeat.progress.is_empty() => {}
            Some(ToCoordinator::Heartbeat(heartbeat)) => {
                assert_eq!(heartbeat.progress[0].attempt, attempt(0, 0, 0));
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}
