//! Runs a stage graph within one process, through encoding, binding and an in-memory shuffle: for tests and benches.
//! What runs is what executors run; only the network is missing.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::{StreamExt, TryStreamExt, stream};
use penstock_batches::Decoder;
use penstock_protocol::{
    ids::{AttemptId, AttemptNumber, JobId, PartitionIndex, ShuffleId, StageId, TaskId, TaskIndex},
    shuffle::{MapOutput, PartitionSource, ShuffleTarget, Winner},
    task::{
        AttemptMetrics, Failure, FailureClass, OutputTarget, StageDefinition, StageInput, TaskAssignment,
        TaskOutput, WrittenFile,
    },
};

use crate::{
    attempt::{Progress, decode, run_attempt},
    exchange::{memory::MemoryStore, store::ShuffleStore},
    stage_graph::{Stage, StageGraph, StageOutput},
};

/// Settings and runtime shared by all tasks.
#[derive(Debug, Clone)]
pub struct LocalRunner {
    pub settings: BTreeMap<String, String>,
    pub env: Arc<RuntimeEnv>,
    /// Tasks of one stage that run at the same time.
    pub slots: usize,
    /// Results of a task up to this size do not go through the store.
    pub inline_bytes_max: u64,
    /// Staging folder for sinks.
    pub staging_url: Option<String>,
    pub job: JobId,
}

/// What a graph gave.
#[derive(Debug)]
pub struct LocalOutcome {
    pub schema: SchemaRef,
    /// Rows of the root stage, task by task.
    pub batches: Vec<RecordBatch>,
    /// Files of a sink.
    pub files: Vec<WrittenFile>,
    /// `metrics[stage][task]`.
    pub metrics: Vec<Vec<AttemptMetrics>>,
}

/// A stage that has run.
struct Finished {
    shuffle: ShuffleId,
    winners: Vec<Winner>,
    sources: Vec<PartitionSource>,
    outputs: Vec<TaskOutput>,
}

impl LocalRunner {
    pub fn new(settings: BTreeMap<String, String>, env: Arc<RuntimeEnv>) -> Self {
        let job = JobId("00000000-0000-7000-8000-000000000000".parse().expect("is a UUID"));
        Self { settings, env, slots: 2, inline_bytes_max: 1 << 20, staging_url: None, job }
    }

    /// Runs all stages in order.
    pub async fn run(&self, graph: &StageGraph) -> Result<LocalOutcome, Failure> {
        let store = MemoryStore::default();
        let mut finished: Vec<Finished> = vec![];
        let mut metrics = vec![];
        for (index, stage) in graph.stages.iter().enumerate() {
            let (ended, measured) = self.run_stage(index, stage, &finished, &store).await?;
            finished.push(ended);
            metrics.push(measured);
        }
        let root = finished.pop().ok_or_else(|| internal("the graph has no stages"))?;
        self.outcome(graph.root(), root, metrics, &store).await
    }

    async fn run_stage(
        &self,
        index: usize,
        stage: &Stage,
        finished: &[Finished],
        store: &MemoryStore,
    ) -> Result<(Finished, Vec<AttemptMetrics>), Failure> {
        let id = StageId(index as u32);
        let shuffle = ShuffleId { job: self.job, exchange: id, run: 0 };
        let decoded = decode(&self.definition(id, shuffle, stage, finished)?, &self.env)?;
        let attempts = (0..stage.tasks).map(|task| {
            let assignment = self.assignment(id, task, stage, finished);
            let (decoded, store): (_, Arc<dyn ShuffleStore>) = (decoded.clone(), Arc::new(store.clone()));
            async move {
                let progress = Arc::<Progress>::default();
                let (output, metrics) = run_attempt(&decoded, &assignment, store, &self.env, progress).await;
                output.map(|output| (output, metrics))
            }
        });
        let ended: Vec<_> = stream::iter(attempts).buffered(self.slots.max(1)).try_collect().await?;
        let (outputs, metrics): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
        let maps: Vec<MapOutput> = outputs.iter().map(map_output).collect();
        let winner = |task| Winner { map: TaskIndex(task), attempt: AttemptNumber(0) };
        let winners = (0..stage.tasks).map(winner).collect();
        let sources = store.sources(stage.output_partitions, &maps);
        Ok((Finished { shuffle, winners, sources, outputs }, metrics))
    }

    fn definition(
        &self,
        id: StageId,
        shuffle: ShuffleId,
        stage: &Stage,
        finished: &[Finished],
    ) -> Result<StageDefinition, Failure> {
        let target = ShuffleTarget { shuffle, locations: vec![] };
        let output = match (&stage.output, &self.staging_url) {
            (StageOutput::Files, Some(url)) => OutputTarget::Files { staging_url: url.clone() },
            (StageOutput::Files, None) => return Err(internal("a sink needs a staging folder")),
            (StageOutput::Result, _) => {
                OutputTarget::Result { target, inline_bytes_max: self.inline_bytes_max }
            }
            _ => OutputTarget::Shuffle(target),
        };
        let input =
            |producer: &Finished| StageInput { shuffle: producer.shuffle, winners: producer.winners.clone() };
        Ok(StageDefinition {
            job: self.job,
            stage: id,
            plan: stage.encoded.clone(),
            settings: self.settings.clone(),
            inputs: stage.inputs.iter().map(|read| input(&finished[read.stage])).collect(),
            output,
        })
    }

    fn assignment(
        &self,
        stage_id: StageId,
        task: u32,
        stage: &Stage,
        finished: &[Finished],
    ) -> TaskAssignment {
        let task_id = TaskId { job: self.job, stage: stage_id, index: TaskIndex(task) };
        let read = |(number, input): (usize, &crate::stage_graph::Input)| {
            let Range { start, end } = stage.reads(number, task);
            finished[input.stage].sources[start as usize..end as usize].to_vec()
        };
        TaskAssignment {
            attempt: AttemptId { task: task_id, number: AttemptNumber(0) },
            scans: stage.task_scans(task),
            reads: stage.inputs.iter().enumerate().map(read).collect(),
        }
    }

    async fn outcome(
        &self,
        stage: &Stage,
        root: Finished,
        metrics: Vec<Vec<AttemptMetrics>>,
        store: &MemoryStore,
    ) -> Result<LocalOutcome, Failure> {
        let mut outcome =
            LocalOutcome { schema: stage.schema.clone(), batches: vec![], files: vec![], metrics };
        let mut decoder = Decoder::new(stage.schema.clone());
        for (task, output) in root.outputs.into_iter().enumerate() {
            let payloads = match output {
                TaskOutput::Inline { batches, .. } => batches,
                TaskOutput::Files(files) => {
                    outcome.files.extend(files);
                    continue;
                }
                TaskOutput::Shuffle(_) => {
                    let source = root.sources[PartitionIndex(task as u32).0 as usize].clone();
                    let payloads = store.read(root.shuffle, root.winners.clone().into(), source);
                    payloads.try_collect().await.map_err(|error| internal(&error.to_string()))?
                }
            };
            for payload in payloads {
                let batches = decoder.decode(payload).map_err(|error| internal(&error.to_string()))?;
                outcome.batches.extend(batches);
            }
        }
        Ok(outcome)
    }
}

fn map_output(output: &TaskOutput) -> MapOutput {
    match output {
        TaskOutput::Shuffle(output) => output.clone(),
        TaskOutput::Inline { .. } | TaskOutput::Files(_) => MapOutput::default(),
    }
}

fn internal(message: &str) -> Failure {
    Failure { class: FailureClass::Internal, message: message.to_owned(), advice: None, lost_shuffle: None }
}
