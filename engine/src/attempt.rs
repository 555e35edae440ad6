//! Runs one attempt of a task: decode the stage, bind the task's part, execute, hand the rows over, report.
//!
//! In: a stage's definition, an assignment, a shuffle store and the runtime's memory and disk. Out: what the attempt
//! wrote, or one typed failure, and always its metrics. Dropping the future cancels the attempt.
//! Not here: slots, heartbeats, retries.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use datafusion::execution::runtime_env::RuntimeEnv;
use penstock_protocol::task::{AttemptMetrics, Failure, FailureClass, StageDefinition, TaskAssignment, TaskOutput};

use crate::exchange::store::ShuffleStore;

/// A stage that an executor has decoded once and runs tasks of. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DecodedStage {}

/// Rows that an attempt has read and handed over so far, for heartbeats.
#[derive(Debug, Default)]
pub struct Progress {
    rows_in: AtomicU64,
    rows_out: AtomicU64,
}

impl Progress {
    pub fn rows_in(&self) -> u64 {
        self.rows_in.load(Ordering::Relaxed)
    }

    pub fn rows_out(&self) -> u64 {
        self.rows_out.load(Ordering::Relaxed)
    }
}

/// Reads a stage's template. Fails with `INTERNAL` if coordinator and executor are not the same build.
pub fn decode(definition: &StageDefinition, env: &Arc<RuntimeEnv>) -> Result<DecodedStage, Failure> {
    let _ = (definition, env);
    Ok(DecodedStage {})
}

/// Runs `task` to its end. The metrics are those of what ran, also when it failed.
pub async fn run_attempt(
    stage: &DecodedStage,
    task: &TaskAssignment,
    store: Arc<dyn ShuffleStore>,
    env: &Arc<RuntimeEnv>,
    progress: Arc<Progress>,
) -> (Result<TaskOutput, Failure>, AttemptMetrics) {
    let _ = (stage, task, store, env, progress);
    let failure = Failure {
        class: FailureClass::Internal,
        message: "not built yet".to_owned(),
        advice: None,
        lost_shuffle: None,
    };
    (Err(failure), AttemptMetrics::default())
}
