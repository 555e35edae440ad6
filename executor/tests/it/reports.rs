use penstock_protocol::wire::executor::ToExecutor;

use crate::{
    coordinator::{Coordinator, Executor, attempt, job, soon},
    runner::Script,
};

#[tokio::test]
async fn a_report_is_sent_again_over_each_new_stream_until_it_was_taken() {
    let mut coordinator = Coordinator::start().await;
    let _executor = Executor::start(&coordinator, 1, Script::new().0).await;
    let (mut first, _) = coordinator.welcome().await;
    first.define(0, "succeed").await;
    first.run(attempt(0, 0, 0)).await;
    let report = first.report().await;
    drop(first);

    let (mut second, hello) = coordinator.welcome().await;
    assert_eq!(hello.running, [attempt(0, 0, 0)]);
    assert_eq!(second.report().await, report);
    second.say(ToExecutor::ReportTaken(attempt(0, 0, 0))).await;
    // An answer to a later order shows that the earlier one was carried out.
    second.run(attempt(9, 0, 0)).await;
    second.report().await;
    second.say(ToExecutor::ReportTaken(attempt(9, 0, 0))).await;
    second.run(attempt(9, 1, 0)).await;
    second.report().await;
    drop(second);

    let (_third, hello) = coordinator.welcome().await;
    assert_eq!(hello.running, [attempt(9, 1, 0)]);
}

#[tokio::test]
async fn the_end_of_its_job_ends_the_waiting_of_a_report() {
    let mut coordinator = Coordinator::start().await;
    let _executor = Executor::start(&coordinator, 1, Script::new().0).await;
    let (mut first, _) = coordinator.welcome().await;
    first.define(0, "succeed").await;
    first.run(attempt(0, 0, 0)).await;
    first.report().await;
    first.say(ToExecutor::ForgetJob(job())).await;
    first.run(attempt(9, 0, 0)).await;
    first.report().await;
    drop(first);
    let (_second, hello) = coordinator.welcome().await;
    assert_eq!(hello.running, [attempt(9, 0, 0)]);
}

#[tokio::test]
async fn attempts_go_on_while_there_is_no_stream() {
    let mut coordinator = Coordinator::start().await;
    let (script, mut seen) = Script::new();
    let _executor = Executor::start(&coordinator, 1, script.clone()).await;
    let (first, _) = coordinator.welcome().await;
    first.define(0, "wait").await;
    first.run(attempt(0, 0, 0)).await;
    soon("the start", seen.started.recv()).await;
    drop(first);

    // Said hello while it ran, and ended before the welcome.
    let (second, hello) = coordinator.accept().await;
    assert_eq!(hello.running, [attempt(0, 0, 0)]);
    script.gate.add_permits(1);
    assert_eq!(soon("the end", seen.dropped.recv()).await, Some(attempt(0, 0, 0)));
    let mut second = second;
    second.say(ToExecutor::Welcome { heartbeat_interval: std::time::Duration::from_secs(60) }).await;
    assert_eq!(second.report().await.attempt, attempt(0, 0, 0));
}
