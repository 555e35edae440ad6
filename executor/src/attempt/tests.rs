use std::{collections::BTreeMap, sync::Mutex};

use futures::future::{BoxFuture, FutureExt};
use penstock_protocol::{
    ids::{AttemptId, AttemptNumber, JobId, StageId, TaskId, TaskIndex},
    task::{OutputTarget, StageDefinition, TaskOutput},
};
use tokio::sync::oneshot;

use super::*;
use crate::{
    runner::{PreparedStage, Progress},
    slots::{Admission, Slots},
    stages::Stages,
};

pub fn attempt(index: u32, number: u32) -> AttemptId {
    let task = TaskId { job: JobId(Default::default()), stage: StageId(0), index: TaskIndex(index) };
    AttemptId { task, number: AttemptNumber(number) }
}

pub fn stage_definition() -> StageDefinition {
    StageDefinition {
        job: attempt(0, 0).task.job,
        stage: attempt(0, 0).task.stage,
        plan: "plan".into(),
        settings: BTreeMap::new(),
        inputs: vec![],
        output: OutputTarget::Files { staging_url: "file:///staging".to_owned() },
    }
}

/// Prepares anything; what its tasks do is the given function.
struct Scripted<F>(F);

impl<F> std::fmt::Debug for Scripted<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl<F> TaskRunner for Scripted<F>
where
    F: Fn() -> BoxFuture<'static, Outcome> + Clone + Send + Sync + 'static,
{
    fn prepare(&self, _: &StageDefinition) -> Result<Arc<dyn PreparedStage>, Failure> {
        Ok(Arc::new(Scripted(self.0.clone())))
    }
}

impl<F> PreparedStage for Scripted<F>
where
    F: Fn() -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
{
    fn run(&self, _: TaskAssignment, _: Arc<Progress>) -> BoxFuture<'static, Outcome> {
        (self.0)()
    }
}

async fn run<F>(script: F, running: Running) -> AttemptOutcome
where
    F: Fn() -> BoxFuture<'static, Outcome> + Clone + Send + Sync + 'static,
{
    let attempts = Attempts {
        runner: Arc::new(Scripted(script)),
        cpu: CpuRuntime::dedicated(1).expect("threads start"),
    };
    let mut stages = Stages::default();
    stages.define(stage_definition());
    let stage = stages.get(stage_definition().job, stage_definition().stage).expect("it was defined");
    let task = TaskAssignment { attempt: attempt(0, 0), scans: vec![], reads: vec![] };
    attempts.run(stage, task, running).await.outcome
}

fn running() -> Running {
    match Slots::new(1).admit(attempt(0, 0)) {
        Admission::Admitted(running) => running,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_the_task_returns_is_reported() {
    let output = TaskOutput::Files(vec![]);
    let script = {
        let output = output.clone();
        move || {
            let output = output.clone();
            async move { (Ok(output), AttemptMetrics::default()) }.boxed()
        }
    };
    assert_eq!(run(script, running()).await, AttemptOutcome::Succeeded(output));
}

#[tokio::test]
async fn a_panic_is_a_failure_of_the_attempt_that_may_be_tried_again() {
    let outcome = run(|| async { panic!("arithmetic overflow") }.boxed(), running()).await;
    let AttemptOutcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert!(failure.class.retry_may_help());
    assert_eq!(failure.message, "the attempt panicked: arithmetic overflow");
}

#[tokio::test]
async fn a_cancelled_attempt_is_dropped_before_it_is_reported() {
    let (alive, mut gone) = oneshot::channel::<()>();
    let alive = Arc::new(Mutex::new(Some(alive)));
    let running = running();
    running.cancel.cancel();
    let script = move || {
        let alive = alive.lock().expect("no holder panics").take();
        async move {
            let _alive = alive;
            std::future::pending().await
        }
        .boxed()
    };
    assert_eq!(run(script, running).await, AttemptOutcome::Cancelled);
    assert_eq!(gone.try_recv(), Err(oneshot::error::TryRecvError::Closed));
}
