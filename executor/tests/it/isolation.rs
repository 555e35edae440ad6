use penstock_executor::{Config, Parts, runtime::CpuRuntime};
use penstock_protocol::{
    task::{AttemptOutcome, FailureClass},
    wire::executor::{ToCoordinator, ToExecutor},
};

use crate::{
    coordinator::{Coordinator, Executor, attempt, soon},
    runner::Script,
};

#[tokio::test]
async fn a_panic_fails_its_attempt_and_touches_nothing_else() {
    let mut coordinator = Coordinator::start().await;
    let (script, mut seen) = Script::new();
    let _executor = Executor::start(&coordinator, 2, script.clone()).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "wait").await;
    connection.define(1, "panic").await;
    connection.run(attempt(0, 0, 0)).await;
    soon("the start", seen.started.recv()).await;

    connection.run(attempt(1, 0, 0)).await;
    let report = connection.report().await;
    let AttemptOutcome::Failed(failure) = report.outcome else { panic!("{report:?}") };
    assert_eq!((report.attempt, failure.class), (attempt(1, 0, 0), FailureClass::Internal));
    assert_eq!(failure.message, "the attempt panicked: index out of bounds");
    assert!(failure.class.retry_may_help() && failure.advice.is_some());

    script.gate.add_permits(1);
    let report = connection.report().await;
    assert_eq!(report.attempt, attempt(0, 0, 0));
    assert!(matches!(report.outcome, AttemptOutcome::Succeeded(_)));
}

#[tokio::test]
async fn a_stage_that_panics_while_it_is_prepared_fails_each_of_its_attempts() {
    let mut coordinator = Coordinator::start().await;
    let _executor = Executor::start(&coordinator, 1, Script::new().0).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "no such script").await;
    for number in 0..2 {
        connection.run(attempt(0, 0, number)).await;
        let report = connection.report().await;
        assert!(matches!(report.outcome, AttemptOutcome::Failed(_)), "{report:?}");
    }
}

#[tokio::test]
async fn heartbeats_and_orders_live_while_every_thread_for_query_work_burns() {
    let mut coordinator = Coordinator::start().await;
    let (script, mut seen) = Script::new();
    let parts = Parts {
        runner: Some(script.clone()),
        cpu: Some(CpuRuntime::dedicated(1).unwrap()),
        ..Parts::default()
    };
    let config = Config { slots: 2, ..Config::default() };
    let _executor = Executor::start_with(&coordinator, config, parts).await;
    let (mut connection, _) = coordinator.welcome().await;
    connection.define(0, "burn").await;
    connection.run(attempt(0, 0, 0)).await;
    soon("the start", seen.started.recv()).await;
    for _ in 0..5 {
        assert!(matches!(connection.next().await, Some(ToCoordinator::Heartbeat(_))));
    }
    // It waits behind the other one and never began, so it can be cancelled at once.
    connection.run(attempt(0, 1, 0)).await;
    connection.say(ToExecutor::Cancel(attempt(0, 1, 0))).await;
    let report = connection.report().await;
    assert_eq!((report.attempt, report.outcome), (attempt(0, 1, 0), AttemptOutcome::Cancelled));
    script.gate.add_permits(1);
    assert_eq!(connection.report().await.attempt, attempt(0, 0, 0));
}
