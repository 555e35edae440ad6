//! What runs a task: the engine, or a script in tests and in the simulation.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::execution::runtime_env::RuntimeEnv;
use futures::future::{BoxFuture, FutureExt};
pub use penstock_engine::attempt::Progress;
use penstock_engine::{
    attempt::{self, DecodedStage},
    error::FREE_SPILL_SPACE,
    exchange::store::ShuffleStore,
};
use penstock_protocol::{
    ids::JobId,
    task::{AttemptMetrics, Failure, StageDefinition, TaskAssignment, TaskOutput},
    token::JobToken,
};

/// How an attempt ended, and always what it used.
pub type Outcome = (Result<TaskOutput, Failure>, AttemptMetrics);

pub trait TaskRunner: fmt::Debug + Send + Sync + 'static {
    /// Does once what all tasks of a stage share. Runs on a thread for query work; may panic.
    fn prepare(&self, stage: &StageDefinition) -> Result<Arc<dyn PreparedStage>, Failure>;

    /// From now on the job's shuffle data is read and written with this token.
    fn grant(&self, _job: JobId, _token: JobToken) {}
}

pub trait PreparedStage: Send + Sync + 'static {
    /// Runs one task; dropping the future cancels it. May panic.
    fn run(&self, task: TaskAssignment, progress: Arc<Progress>) -> BoxFuture<'static, Outcome>;
}

/// Runs tasks with DataFusion.
#[derive(Debug)]
pub struct EngineRunner {
    env: Arc<RuntimeEnv>,
    store: Arc<dyn ShuffleStore>,
    /// Where `env` spills to, for people.
    scratch: Arc<PathBuf>,
}

impl EngineRunner {
    pub fn new(env: Arc<RuntimeEnv>, store: Arc<dyn ShuffleStore>, scratch: PathBuf) -> Self {
        Self { env, store, scratch: Arc::new(scratch) }
    }
}

impl TaskRunner for EngineRunner {
    fn prepare(&self, stage: &StageDefinition) -> Result<Arc<dyn PreparedStage>, Failure> {
        let stage = attempt::decode(stage, &self.env)?;
        let (env, store, scratch) =
            (Arc::clone(&self.env), Arc::clone(&self.store), Arc::clone(&self.scratch));
        Ok(Arc::new(EngineStage { stage, env, store, scratch }))
    }

    fn grant(&self, job: JobId, token: JobToken) {
        self.store.grant(job, token);
    }
}

struct EngineStage {
    stage: DecodedStage,
    env: Arc<RuntimeEnv>,
    store: Arc<dyn ShuffleStore>,
    scratch: Arc<PathBuf>,
}

impl PreparedStage for EngineStage {
    fn run(&self, task: TaskAssignment, progress: Arc<Progress>) -> BoxFuture<'static, Outcome> {
        let (stage, env, store) = (self.stage.clone(), Arc::clone(&self.env), Arc::clone(&self.store));
        let scratch = Arc::clone(&self.scratch);
        async move {
            let (outcome, metrics) = attempt::run_attempt(&stage, &task, store, &env, progress).await;
            (outcome.map_err(|failure| name_scratch(failure, &scratch)), metrics)
        }
        .boxed()
    }
}

/// The engine does not know where it spills to, and who reads the failure does not know that it is a setting.
fn name_scratch(mut failure: Failure, scratch: &Path) -> Failure {
    if failure.advice.as_deref() == Some(FREE_SPILL_SPACE) {
        failure.advice = Some(format!(
            "free space on the disk of {}, or name a folder on a larger one with `scratch_dir` of [executor]",
            scratch.display()
        ));
    }
    failure
}
