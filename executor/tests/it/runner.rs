//! A runner whose tasks do what the stage's plan says: `succeed`, `fail`, `panic`, `wait` until the test opens
//! the gate, or `burn` a core until then.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::future::{BoxFuture, FutureExt};
use penstock_executor::runner::{Outcome, PreparedStage, Progress, TaskRunner};
use penstock_protocol::{
    ids::AttemptId,
    task::{AttemptMetrics, Failure, FailureClass, StageDefinition, TaskAssignment, TaskOutput, WrittenFile},
};
use tokio::sync::{Semaphore, mpsc};

#[derive(Debug)]
pub struct Script {
    /// A waiting task ends for each permit.
    pub gate: Arc<Semaphore>,
    pub prepared: AtomicUsize,
    started: mpsc::UnboundedSender<AttemptId>,
    dropped: mpsc::UnboundedSender<AttemptId>,
}

/// What the runner saw.
pub struct Seen {
    /// Attempts of waiting tasks, when they begin.
    pub started: mpsc::UnboundedReceiver<AttemptId>,
    /// The same, when they are gone.
    pub dropped: mpsc::UnboundedReceiver<AttemptId>,
}

impl Script {
    pub fn new() -> (Arc<Self>, Seen) {
        let ((started, starts), (dropped, drops)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let script =
            Self { gate: Arc::new(Semaphore::new(0)), prepared: AtomicUsize::new(0), started, dropped };
        (Arc::new(script), Seen { started: starts, dropped: drops })
    }
}

impl TaskRunner for Script {
    fn prepare(&self, stage: &StageDefinition) -> Result<Arc<dyn PreparedStage>, Failure> {
        self.prepared.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(Task {
            does: String::from_utf8(stage.plan.to_vec()).unwrap(),
            gate: Arc::clone(&self.gate),
            started: self.started.clone(),
            dropped: self.dropped.clone(),
        }))
    }
}

struct Task {
    does: String,
    gate: Arc<Semaphore>,
    started: mpsc::UnboundedSender<AttemptId>,
    dropped: mpsc::UnboundedSender<AttemptId>,
}

impl PreparedStage for Task {
    fn run(&self, task: TaskAssignment, _: Arc<Progress>) -> BoxFuture<'static, Outcome> {
        let done = (Ok(output(task.attempt)), AttemptMetrics { rows_out: 7, ..Default::default() });
        match self.does.as_str() {
            "succeed" => async move { done }.boxed(),
            "fail" => async move { (Err(failure()), AttemptMetrics::default()) }.boxed(),
            "burn" => {
                let (gate, started) = (Arc::clone(&self.gate), self.started.clone());
                async move {
                    started.send(task.attempt).unwrap();
                    while gate.try_acquire().is_err() {
                        std::hint::spin_loop();
                    }
                    done
                }
                .boxed()
            }
            "panic" => async move { panic!("index out of bounds") }.boxed(),
            "wait" => {
                let (gate, started) = (Arc::clone(&self.gate), self.started.clone());
                let gone = Gone { attempt: task.attempt, dropped: self.dropped.clone() };
                async move {
                    let _gone = gone;
                    started.send(task.attempt).unwrap();
                    gate.acquire().await.unwrap().forget();
                    done
                }
                .boxed()
            }
            other => panic!("no script for {other}"),
        }
    }
}

struct Gone {
    attempt: AttemptId,
    dropped: mpsc::UnboundedSender<AttemptId>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.dropped.send(self.attempt);
    }
}

/// What a successful task returns.
pub fn output(attempt: AttemptId) -> TaskOutput {
    let file = WrittenFile {
        staged_path: format!("{attempt}"),
        final_path: "part-0.parquet".to_owned(),
        rows: 7,
        bytes: 70,
    };
    TaskOutput::Files(vec![file])
}

pub fn failure() -> Failure {
    Failure {
        class: FailureClass::UserData,
        message: "division by zero".to_owned(),
        advice: None,
        lost_shuffle: None,
    }
}
