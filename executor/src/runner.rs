//! What runs a task: the engine, or a script in tests and in the simulation.

use std::{fmt, sync::Arc};

use datafusion::execution::runtime_env::RuntimeEnv;
use futures::future::{BoxFuture, FutureExt};
pub use penstock_engine::attempt::Progress;
use penstock_engine::{
    attempt::{self, DecodedStage},
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
}

impl EngineRunner {
    pub fn new(env: Arc<RuntimeEnv>, store: Arc<dyn ShuffleStore>) -> Self {
        Self { env, store }
    }
}

impl TaskRunner for EngineRunner {
    fn prepare(&self, stage: &StageDefinition) -> Result<Arc<dyn PreparedStage>, Failure> {
        let stage = attempt::decode(stage, &self.env)?;
        Ok(Arc::new(EngineStage { stage, env: Arc::clone(&self.env), store: Arc::clone(&self.store) }))
    }

    fn grant(&self, job: JobId, token: JobToken) {
        self.store.grant(job, token);
    }
}

struct EngineStage {
    stage: DecodedStage,
    env: Arc<RuntimeEnv>,
    store: Arc<dyn ShuffleStore>,
}

impl PreparedStage for EngineStage {
    fn run(&self, task: TaskAssignment, progress: Arc<Progress>) -> BoxFuture<'static, Outcome> {
        let (stage, env, store) = (self.stage.clone(), Arc::clone(&self.env), Arc::clone(&self.store));
        async move { attempt::run_attempt(&stage, &task, store, &env, progress).await }.boxed()
    }
}
