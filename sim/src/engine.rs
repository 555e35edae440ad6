//! The scripted engine: reads its inputs through the real shuffle client, checks them, and writes rows that the oracle
//! can foretell.
//!
//! What a task does beside that (takes its time, fails, panics) depends on the job's seed, the task and the attempt's
//! number, and so does how it cuts its rows into batches: two attempts of a task write the same rows differently.

mod payload;

use std::{collections::BTreeMap, str::FromStr, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    future::{BoxFuture, FutureExt},
};
use penstock_executor::runner::{Outcome, PreparedStage, Progress, TaskRunner};
use penstock_protocol::{
    ids::{AttemptId, PartitionIndex, ShuffleId},
    shuffle::{PartitionSource, ShuffleTarget, Winner},
    task::{
        AttemptMetrics, Failure, FailureClass, OutputTarget, StageDefinition, TaskAssignment, TaskOutput,
    },
};
use penstock_shuffle_client::{FetchError, PushError, ShuffleClient};

pub use self::payload::schema;
use crate::{
    oracle::{self, Input, Oracle, Place},
    random::mix,
    record::Record,
    workload::{DOOM, PADDING, ROWS_MAX, SEED, TROUBLE},
};

/// Runs the tasks of one life of an executor.
#[derive(Debug)]
pub struct ScriptedRunner {
    pub executor: Arc<str>,
    pub client: ShuffleClient,
    pub record: Arc<Record>,
    pub oracle: Arc<Oracle>,
}

impl TaskRunner for ScriptedRunner {
    fn prepare(&self, definition: &StageDefinition) -> Result<Arc<dyn PreparedStage>, Failure> {
        let script = Script::read(definition).ok_or_else(|| {
            failure(FailureClass::Internal, format!("stage {} has no script", definition.stage))
        })?;
        let (executor, client) = (Arc::clone(&self.executor), self.client.clone());
        let (record, oracle) = (Arc::clone(&self.record), Arc::clone(&self.oracle));
        Ok(Arc::new(Stage { executor, client, record, oracle, script, definition: definition.clone() }))
    }
}

/// What a stage's plan and settings say.
#[derive(Debug, Clone)]
struct Script {
    tasks: u32,
    inputs: Vec<Input>,
    seed: u64,
    rows_max: u64,
    padding: u64,
    trouble: bool,
    doomed: bool,
}

impl Script {
    fn read(definition: &StageDefinition) -> Option<Self> {
        let plan = std::str::from_utf8(&definition.plan).ok()?.strip_prefix("scripted ")?;
        let (sizes, inputs) = plan.split_once(':').unwrap_or((plan, ""));
        let input = |text: &str| {
            let whole = text.ends_with('*');
            Some(Input { stage: text.trim_end_matches('*').trim().parse().ok()?, whole })
        };
        let settings = &definition.settings;
        Some(Self {
            tasks: sizes.split_once('>')?.0.trim().parse().ok()?,
            inputs: inputs
                .split(',')
                .filter(|text| !text.trim().is_empty())
                .map(input)
                .collect::<Option<_>>()?,
            seed: setting(settings, SEED)?,
            rows_max: setting(settings, ROWS_MAX)?,
            padding: setting(settings, PADDING)?,
            trouble: setting(settings, TROUBLE)?,
            doomed: settings.get(DOOM)? == &definition.stage.to_string(),
        })
    }
}

fn setting<T: FromStr>(settings: &BTreeMap<String, String>, name: &str) -> Option<T> {
    settings.get(name)?.parse().ok()
}

#[derive(Clone)]
struct Stage {
    executor: Arc<str>,
    client: ShuffleClient,
    record: Arc<Record>,
    oracle: Arc<Oracle>,
    script: Script,
    definition: StageDefinition,
}

impl PreparedStage for Stage {
    fn run(&self, task: TaskAssignment, _: Arc<Progress>) -> BoxFuture<'static, Outcome> {
        let stage = self.clone();
        async move {
            let mut presence = Presence::begin(&stage, task.attempt);
            let outcome = stage.attempt(&task).await;
            presence.how = if outcome.is_ok() { "ended" } else { "failed" };
            (outcome, AttemptMetrics::default())
        }
        .boxed()
    }
}

/// Says that an attempt is gone, however it went.
struct Presence {
    record: Arc<Record>,
    attempt: AttemptId,
    how: &'static str,
}

impl Presence {
    fn begin(stage: &Stage, attempt: AttemptId) -> Self {
        stage.record.attempt_started(attempt, &stage.executor);
        Self { record: Arc::clone(&stage.record), attempt, how: "was dropped" }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.record.attempt_gone(self.attempt, self.how);
    }
}

/// Where in an attempt trouble comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Begin,
    /// Some batches were pushed.
    Middle,
    /// All batches were acknowledged.
    End,
}

impl Stage {
    async fn attempt(&self, task: &TaskAssignment) -> Result<TaskOutput, Failure> {
        let place = Place {
            seed: self.script.seed,
            stage: self.definition.stage.0,
            task: task.attempt.task.index.0,
            tasks: self.script.tasks,
        };
        self.trouble(task.attempt, Moment::Begin).await?;
        if self.script.doomed && place.task == 0 {
            return Err(failure(FailureClass::UserData, "a row is not a number".to_owned()));
        }
        let inputs = self.inputs(task, place).await?;
        let rows = oracle::rows(place, self.script.rows_max, &inputs);
        let output = match &self.definition.output {
            OutputTarget::Shuffle(target) => self.push(task.attempt, target, &rows, false).await?,
            OutputTarget::Result { target, inline_bytes_max } => {
                let batches = payload::results(&rows, self.cut(task.attempt));
                let bytes: usize = batches.iter().map(bytes::Bytes::len).sum();
                match bytes as u64 <= *inline_bytes_max {
                    true => TaskOutput::Inline { rows: rows.len() as u64, batches },
                    false => self.push(task.attempt, target, &rows, true).await?,
                }
            }
            OutputTarget::Files { .. } => {
                return Err(failure(FailureClass::Internal, "a scripted task writes no files".to_owned()));
            }
        };
        self.trouble(task.attempt, Moment::End).await?;
        Ok(output)
    }

    /// Each input's share of rows, checked to be what this task should get.
    async fn inputs(&self, task: &TaskAssignment, place: Place) -> Result<Vec<Vec<u64>>, Failure> {
        let mut inputs = Vec::new();
        let all = self.script.inputs.iter().zip(&self.definition.inputs).zip(&task.reads);
        for ((input, from), partitions) in all {
            let mut rows = Vec::new();
            for source in partitions {
                rows.extend(self.read(from.shuffle, &from.winners, source).await?);
            }
            inputs.push(oracle::share(place, *input, rows.into_iter()));
        }
        if inputs.len() != self.script.inputs.len() {
            let what = format!("{} was given {} inputs", task.attempt, inputs.len());
            self.record.violation("tasks-get-their-inputs", what);
        }
        Ok(inputs)
    }

    async fn read(
        &self,
        shuffle: ShuffleId,
        winners: &[Winner],
        source: &PartitionSource,
    ) -> Result<Vec<u64>, Failure> {
        let mut payloads = std::pin::pin!(self.client.read(shuffle, winners.into(), source.clone()));
        let mut rows = Vec::new();
        while let Some(read) = payloads.next().await {
            let bytes = read.map_err(unreadable)?;
            match payload::decode(&bytes) {
                Some((partition, batch)) if partition == source.partition.0 => rows.extend(batch),
                other => {
                    let what = format!("partition {} of {shuffle}: {other:?}", source.partition);
                    self.record.violation("readers-get-what-was-written", what);
                }
            }
        }
        self.check(shuffle, source.partition, &rows);
        Ok(rows)
    }

    /// An error is allowed, a wrong answer never.
    fn check(&self, shuffle: ShuffleId, partition: PartitionIndex, rows: &[u64]) {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        let expected = self.oracle.partition(self.script.seed, shuffle.exchange.0, partition.0);
        if expected != Some(&rows[..]) {
            let (got, wanted) = (rows.len(), expected.map_or(0, <[u64]>::len));
            let what = format!(
                "partition {partition} of {shuffle} gave {got} rows that are not the {wanted} expected ones"
            );
            self.record.violation("readers-get-the-rows-of-their-partition", what);
        }
    }

    async fn push(
        &self,
        attempt: AttemptId,
        target: &ShuffleTarget,
        rows: &[u64],
        is_result: bool,
    ) -> Result<TaskOutput, Failure> {
        let cut = self.cut(attempt);
        let mut partitions: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for row in rows {
            let partition = match is_result {
                true => attempt.task.index.0,
                false => oracle::partition_of(*row, target.locations.len() as u32),
            };
            partitions.entry(partition).or_default().push(*row);
        }
        let mut batches = Vec::new();
        for (partition, rows) in &partitions {
            let cut = mix(&[cut, u64::from(*partition)]);
            let payloads = match is_result {
                true => payload::results(rows, cut),
                false => payload::batches(*partition, rows, cut, self.script.padding),
            };
            let counts = payload::counts(rows.len(), cut);
            batches.extend(counts.zip(payloads).map(|(rows, payload)| (*partition, rows, payload)));
        }
        let mut writer = self.client.writer(attempt, Arc::new(target.clone())).await.map_err(unwritable)?;
        let middle = batches.len() / 2;
        for (position, (partition, rows, payload)) in batches.into_iter().enumerate() {
            if position == middle {
                self.trouble(attempt, Moment::Middle).await?;
            }
            writer.push(PartitionIndex(partition), rows, payload).await.map_err(unwritable)?;
        }
        Ok(TaskOutput::Shuffle(writer.finish().await.map_err(unwritable)?))
    }

    /// How the attempt cuts its rows into batches.
    fn cut(&self, attempt: AttemptId) -> u64 {
        mix(&[self.script.seed, u64::from(attempt.task.index.0), u64::from(attempt.number.0)])
    }

    /// In a troubled job: seconds of work, and first attempts that fail or panic at some point.
    async fn trouble(&self, attempt: AttemptId, moment: Moment) -> Result<(), Failure> {
        let place = [u64::from(attempt.task.stage.0), u64::from(attempt.task.index.0)];
        let fate = mix(&[self.script.seed, place[0], place[1], 77]);
        if moment == Moment::Begin {
            let millis = if self.script.trouble && fate.is_multiple_of(4) {
                (fate >> 8) % 3_000
            } else {
                (fate >> 8) % 40
            };
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        if !self.script.trouble {
            return Ok(());
        }
        let comes_at = [Moment::Begin, Moment::Middle, Moment::End][(fate >> 20) as usize % 3];
        let fails = [0, 0, 0, 1, 1, 2][(fate >> 30) as usize % 6];
        if comes_at != moment || attempt.number.0 >= fails {
            return Ok(());
        }
        match (fate >> 40) % 3 {
            0 => panic!("{SCRIPTED_PANIC}"),
            1 => Err(failure(FailureClass::Infrastructure, "a scripted failure".to_owned())),
            _ => Err(failure(FailureClass::Resources, "a scripted lack of memory".to_owned())),
        }
    }
}

/// What scripted panics say; nobody needs to see their backtraces.
pub const SCRIPTED_PANIC: &str = "a scripted panic";

fn failure(class: FailureClass, message: String) -> Failure {
    Failure { class, message, advice: None, lost_shuffle: None }
}

/// As the engine says it.
fn unwritable(error: PushError) -> Failure {
    let message = error.to_string();
    match error {
        PushError::Lost { shuffle, .. } => {
            Failure { lost_shuffle: Some(shuffle), ..failure(FailureClass::Infrastructure, message) }
        }
        PushError::Unavailable { .. } => failure(FailureClass::Infrastructure, message),
        PushError::NoRoom { .. } => failure(FailureClass::Resources, message),
    }
}

fn unreadable(error: FetchError) -> Failure {
    let message = error.to_string();
    match error {
        FetchError::Lost { shuffle, .. } => {
            Failure { lost_shuffle: Some(shuffle), ..failure(FailureClass::Infrastructure, message) }
        }
        FetchError::Unavailable { .. } => failure(FailureClass::Infrastructure, message),
    }
}
