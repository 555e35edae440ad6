use std::convert::Infallible;

use tokio::sync::oneshot;

use super::*;

const DEADLINE: Duration = Duration::from_secs(5);

async fn until_stopped(stop: CancellationToken) -> Result<(), Infallible> {
    stop.cancelled().await;
    Ok(())
}

#[tokio::test]
async fn stop_waits_for_own_tasks_and_those_of_children() {
    let tasks = Tasks::new("root");
    let child = tasks.child("child");
    let (done, is_done) = oneshot::channel();
    let stop = child.stop_token();
    child.spawn("slow", OnFailure::StopAll, async move {
        stop.cancelled().await;
        tokio::task::yield_now().await;
        done.send(()).map_err(|()| "nobody waits")
    });
    tasks.spawn("quick", OnFailure::StopAll, until_stopped(tasks.stop_token()));
    assert_eq!(tasks.stop(DEADLINE).await, Ok(()));
    assert_eq!(is_done.await, Ok(()));
}

#[tokio::test]
async fn a_task_that_ignores_the_stop_is_aborted_and_named() {
    let tasks = Tasks::new("root");
    let child = tasks.child("child");
    child.spawn("deaf", OnFailure::Log, std::future::pending::<Result<(), Infallible>>());
    let stragglers = tasks.stop(Duration::from_millis(1)).await.expect_err("one is left");
    assert_eq!(stragglers.tasks, ["root/child/deaf"]);
    assert_eq!(tasks.stop(DEADLINE).await, Ok(()), "nothing is left after the abort");
}

#[tokio::test]
async fn a_failure_stops_its_owner_and_is_told_to_the_parents() {
    let tasks = Tasks::new("root");
    let child = tasks.child("child");
    child.spawn("broken", OnFailure::StopAll, async { Err("out of luck") });
    let failure = tasks.failed().await;
    assert_eq!(failure.to_string(), "task root/child/broken failed: out of luck");
    assert!(child.stop_token().is_cancelled());
    assert!(!tasks.stop_token().is_cancelled(), "the parent decides for itself");
}

#[tokio::test]
async fn only_the_first_failure_is_kept() {
    let tasks = Tasks::new("root");
    tasks.spawn("first", OnFailure::StopAll, async { Err("first") });
    assert_eq!(tasks.failed().await.reason, "first");
    tasks.spawn("second", OnFailure::StopAll, async { Err("second") });
    assert_eq!(tasks.stop(DEADLINE).await, Ok(()));
    assert_eq!(tasks.failed().await.reason, "first");
}

#[tokio::test]
async fn a_panic_is_a_failure_with_its_message() {
    let tasks = Tasks::new("root");
    tasks.spawn("fragile", OnFailure::StopAll, async {
        if true {
            panic!("the sky fell");
        }
        Ok::<_, Infallible>(())
    });
    assert_eq!(tasks.failed().await.reason, "panicked: the sky fell");
}

#[tokio::test]
async fn a_failure_that_is_only_logged_stops_nothing() {
    let tasks = Tasks::new("root");
    let (ended, has_ended) = oneshot::channel::<()>();
    tasks.spawn("optional", OnFailure::Log, async move {
        drop(ended);
        Err("not today")
    });
    has_ended.await.expect_err("the sender was dropped");
    assert!(!tasks.stop_token().is_cancelled());
    assert_eq!(tasks.stop(DEADLINE).await, Ok(()));
}

#[tokio::test]
async fn a_child_can_stop_alone() {
    let tasks = Tasks::new("root");
    let child = tasks.child("child");
    child.spawn("worker", OnFailure::StopAll, until_stopped(child.stop_token()));
    assert_eq!(child.stop(DEADLINE).await, Ok(()));
    assert!(!tasks.stop_token().is_cancelled());
}
