//! Runs one attempt of a task: decode the stage, bind the task's part, execute, hand the rows over, report.
//!
//! In: a stage's definition, an assignment, a shuffle store and the runtime's memory and disk. Out: what the attempt
//! wrote, or one typed failure, and always its metrics. Dropping the future cancels the attempt.
//! Not here: slots, heartbeats, retries.

mod codec;
mod failure;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use datafusion::{
    error::{DataFusionError, Result},
    execution::{TaskContext, object_store::ObjectStoreUrl, runtime_env::RuntimeEnv},
    physical_plan::ExecutionPlan,
    prelude::SessionContext,
};
use futures::StreamExt;
use penstock_batches::Codec;
use penstock_protocol::{
    shuffle::ShuffleTarget,
    task::{AttemptMetrics, Failure, OutputTarget, StageDefinition, TaskAssignment, TaskOutput},
};

use crate::{
    bind::{self, Bound, Inputs, Parts},
    codec::StagePlan,
    exchange::{ExchangeWriteExec, PayloadSink, store::ShuffleStore},
    metrics,
    scan::{self, Found},
    session,
    settings::Settings,
    sink::SinkRun,
};

/// A stage that an executor has read once and runs tasks of. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DecodedStage(Arc<Decoded>);

struct Decoded {
    plan: StagePlan,
    session: SessionContext,
    codec: Codec,
    inputs: Inputs,
    output: Output,
}

/// Where the rows of every task of the stage go.
#[derive(Debug)]
enum Output {
    Shuffle(Arc<ShuffleTarget>),
    Result { target: Arc<ShuffleTarget>, inline_bytes_max: u64 },
    Files { staging_url: String },
}

impl std::fmt::Debug for Decoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoded").field("output", &self.output).finish_non_exhaustive()
    }
}

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

    pub(crate) fn add_rows_in(&self, rows: usize) {
        self.rows_in.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_rows_out(&self, rows: usize) {
        self.rows_out.fetch_add(rows as u64, Ordering::Relaxed);
    }
}

/// Reads a stage's template. A template that cannot be read means that coordinator and executor are not the same build.
pub fn decode(definition: &StageDefinition, env: &Arc<RuntimeEnv>) -> Result<DecodedStage, Failure> {
    let settings = Settings::new(definition.settings.clone()).map_err(failure::of_settings)?;
    let session = session::session(&settings, env).map_err(failure::of_settings)?;
    let inputs = definition.inputs.iter().map(|input| (input.shuffle, input.winners.clone().into()));
    let output = Output::of(&definition.output);
    Ok(DecodedStage(Arc::new(Decoded {
        plan: crate::codec::parse_plan(&definition.plan).map_err(|error| failure::of(&error))?,
        session,
        codec: codec::of(settings.shuffle_codec(), output.target()),
        inputs: inputs.collect(),
        output,
    })))
}

impl Output {
    fn of(target: &OutputTarget) -> Self {
        match target {
            OutputTarget::Shuffle(target) => Self::Shuffle(Arc::new(target.clone())),
            OutputTarget::Result { target, inline_bytes_max } => {
                Self::Result { target: Arc::new(target.clone()), inline_bytes_max: *inline_bytes_max }
            }
            OutputTarget::Files { staging_url } => Self::Files { staging_url: staging_url.clone() },
        }
    }

    fn target(&self) -> Option<&ShuffleTarget> {
        match self {
            Self::Shuffle(target) | Self::Result { target, .. } => Some(target),
            Self::Files { .. } => None,
        }
    }
}

/// Runs `task` to its end. The metrics are those of what ran, also when it failed.
pub async fn run_attempt(
    stage: &DecodedStage,
    task: &TaskAssignment,
    store: Arc<dyn ShuffleStore>,
    env: &Arc<RuntimeEnv>,
    progress: Arc<Progress>,
) -> (Result<TaskOutput, Failure>, AttemptMetrics) {
    let _ = env;
    let started = Instant::now();
    let mut measured = AttemptMetrics::default();
    let run = Run { stage: &stage.0, task, store, progress: progress.clone() };
    let outcome = run.run(&mut measured).await.map_err(|error| failure::of(&error));
    measured.rows_in = progress.rows_in();
    measured.rows_out = progress.rows_out();
    measured.run_ms = started.elapsed().as_millis() as u64;
    if let Ok(TaskOutput::Files(files)) = &outcome {
        measured.written_bytes = files.iter().map(|file| file.bytes).sum();
        measured.rows_out = files.iter().map(|file| file.rows).sum();
    }
    (outcome, measured)
}

/// One attempt's parts.
struct Run<'a> {
    stage: &'a Decoded,
    task: &'a TaskAssignment,
    store: Arc<dyn ShuffleStore>,
    progress: Arc<Progress>,
}

impl Run<'_> {
    async fn run(&self, measured: &mut AttemptMetrics) -> Result<TaskOutput> {
        let (context, sink_run) = self.context();
        let template = self.stage.plan.instantiate(&context)?;
        let found = self.look(&context, &template).await?;
        let (inputs, store, progress) = (&self.stage.inputs, &self.store, &self.progress);
        let bound = bind::bind(&template, Parts { inputs, task: self.task, found: &found, store, progress })?;
        let outcome = self.execute(&bound, context, sink_run).await;
        metrics::collect(&bound.operators, measured);
        outcome
    }

    /// The session's context under the attempt's name, with the folder of its files if it is a sink's.
    fn context(&self) -> (Arc<TaskContext>, Option<Arc<SinkRun>>) {
        let context =
            TaskContext::from(&self.stage.session.state()).with_task_id(self.task.attempt.to_string());
        let Output::Files { staging_url } = &self.stage.output else { return (Arc::new(context), None) };
        let sink_run = Arc::new(SinkRun::new(staging_url.clone(), self.task.attempt));
        let config = context.session_config().clone().with_extension(sink_run.clone());
        (Arc::new(context.with_session_config(config)), Some(sink_run))
    }

    /// The task's files, which must be what they were when the statement was planned.
    async fn look(
        &self,
        context: &TaskContext,
        template: &Arc<dyn ExecutionPlan>,
    ) -> Result<HashMap<ObjectStoreUrl, Found>> {
        let mut found = HashMap::<ObjectStoreUrl, Found>::new();
        for (url, files) in bind::files(template, self.task)? {
            let store = context.runtime_env().object_store(&url)?;
            let looked = scan::verify(&url, store.as_ref(), &files).await;
            found
                .entry(url)
                .or_default()
                .extend(looked.map_err(|changed| DataFusionError::External(Box::new(changed)))?);
        }
        Ok(found)
    }

    async fn execute(
        &self,
        bound: &Bound,
        context: Arc<TaskContext>,
        sink_run: Option<Arc<SinkRun>>,
    ) -> Result<TaskOutput> {
        match (bound.plan.downcast_ref::<ExchangeWriteExec>(), &self.stage.output, sink_run) {
            (Some(write), Output::Shuffle(target), _) => {
                let sink = PayloadSink::shuffle(self.store.clone(), self.task.attempt, target.clone());
                self.hand_over(write, context, sink).await
            }
            (Some(write), Output::Result { target, inline_bytes_max }, _) => {
                let (store, attempt) = (self.store.clone(), self.task.attempt);
                let sink = PayloadSink::result(store, attempt, target.clone(), *inline_bytes_max);
                self.hand_over(write, context, sink).await
            }
            (None, Output::Files { .. }, Some(sink_run)) => {
                let mut counts = bound.plan.execute(0, context)?;
                while let Some(count) = counts.next().await {
                    count?;
                }
                Ok(TaskOutput::Files(sink_run.take_written()))
            }
            _ => {
                Err(DataFusionError::Internal("a stage's plan and its output do not fit together".to_owned()))
            }
        }
    }

    async fn hand_over(
        &self,
        write: &ExchangeWriteExec,
        context: Arc<TaskContext>,
        mut sink: PayloadSink,
    ) -> Result<TaskOutput> {
        let task = self.task.attempt.task.index;
        let written = write.write(task, context, self.stage.codec, &mut sink, &self.progress).await;
        let effort = sink.effort();
        let output = match written {
            Ok(()) => sink
                .finish(&write.wait_time())
                .await
                .map_err(|error| DataFusionError::External(Box::new(error))),
            Err(error) => Err(error),
        };
        // Also of an attempt that failed: why it did may lie there.
        effort.iter().for_each(|effort| write.note_effort(effort));
        output
    }
}
