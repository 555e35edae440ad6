//! What a client asked for, and what planning made of it, as plain data.

use std::{collections::BTreeMap, sync::Arc};

use penstock_protocol::{
    event,
    ids::{StageId, TaskIndex},
    shuffle::{ShuffleSource, ShuffleTarget},
    task::{Failure, FailureClass},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A job as it was submitted. Never changes after that.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobSpec {
    pub name: String,
    pub sql: String,
    pub parameters: BTreeMap<String, serde_json::Value>,
    pub settings: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Higher goes first within its queue.
    pub priority: i32,
    /// Empty means the default queue.
    pub queue: String,
    pub idempotency_key: Option<String>,
    /// At most one active job per scope: a newer key fences the older job.
    pub scope_key: Option<String>,
    /// Cancelled when nobody asks for it for so long; none or 0 means never.
    pub lease_seconds: Option<u64>,
    pub timeout_seconds: Option<u64>,
    pub owner: Option<String>,
    /// `cli`, `rest`, `flight` or `airflow`.
    pub client: String,
    /// Where relative paths of the script are resolved.
    pub base_url: Option<String>,
    pub source: Option<serde_json::Value>,
}

impl JobSpec {
    /// Equal for jobs that would do the same: script, parameters, settings and base folder; not names or priorities.
    pub fn definition_hash(&self) -> String {
        let definition = (&self.sql, &self.parameters, &self.settings, &self.base_url);
        let text = serde_json::to_vec(&definition).expect("maps with text keys are JSON");
        Sha256::digest(&text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The names of the parts in which two definitions differ.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        [
            ("sql", self.sql != other.sql),
            ("parameters", self.parameters != other.parameters),
            ("settings", self.settings != other.settings),
            ("base_url", self.base_url != other.base_url),
        ]
        .into_iter()
        .filter_map(|(part, differs)| differs.then_some(part))
        .collect()
    }
}

/// One statement of a script that was parsed and bound.
#[derive(Debug, Clone, PartialEq)]
pub struct StatementText {
    pub sql: Arc<str>,
}

/// A planned statement.
#[derive(Debug, Clone, PartialEq)]
pub struct StatementPlan {
    pub work: StatementWork,
    /// Goes to the event log as it is.
    pub log: Box<event::StatementPlanned>,
}

/// What has to happen for a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementWork {
    /// Topological order; the last stage is the root and its output is [`StageOutput::Result`].
    Query { stages: Vec<StageSpec> },
    /// As above with [`StageOutput::Files`]; `changes_catalog` after the files are published.
    Sink { stages: Vec<StageSpec>, target: String, changes_catalog: bool },
    /// The shell keeps the change and applies it when told so.
    Catalog,
    /// The rows were known at planning and are held by the shell.
    Rows { rows: u64 },
    /// Holds for the later statements of the script.
    Set { key: String, value: String },
}

impl StatementWork {
    pub fn kind(&self) -> StatementKind {
        match self {
            Self::Query { .. } => StatementKind::Query,
            Self::Sink { .. } => StatementKind::Sink,
            Self::Catalog => StatementKind::Catalog,
            Self::Rows { .. } => StatementKind::Rows,
            Self::Set { .. } => StatementKind::Set,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatementKind {
    Query,
    Sink,
    Catalog,
    Rows,
    Set,
}

/// A stage without its plan, which stays in the shell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// [`crate::effect::Effect::PlanStatement`] says where a statement's numbers start.
    pub stage: StageId,
    pub name: String,
    /// Stages of the same statement that come before this one, in the order of the plan's exchange numbers.
    pub inputs: Vec<(StageId, ReadMode)>,
    pub tasks: u32,
    pub output_partitions: u32,
    pub output: StageOutput,
    /// Proved to write the same rows into the same partitions whenever it runs on the same input. Without a proof its
    /// readers run again with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deterministic: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadMode {
    /// Task i reads partition i.
    Partitioned,
    /// Every task reads all partitions.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageOutput {
    Shuffle,
    Result,
    Files,
}

/// Where the attempts of a stage write to.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptTarget {
    Shuffle(Arc<ShuffleTarget>),
    Result(Arc<ShuffleTarget>),
    Files,
}

/// What went wrong, and where in the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobFailure {
    #[serde(flatten)]
    pub failure: Failure,
    #[serde(default, flatten)]
    pub place: FailurePlace,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FailurePlace {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor: Option<String>,
    /// In the script, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

impl JobFailure {
    pub fn new(class: FailureClass, message: impl Into<String>, advice: Option<&str>) -> Self {
        Failure { class, message: message.into(), advice: advice.map(str::to_owned), lost_shuffle: None }
            .into()
    }

    pub fn at(mut self, place: FailurePlace) -> Self {
        self.place = place;
        self
    }
}

impl From<Failure> for JobFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, place: FailurePlace::default() }
    }
}

/// The rows of a query, wherever they are.
#[derive(Debug, Clone, PartialEq)]
pub struct StatementResult {
    pub rows: u64,
    /// Tasks whose rows came with their report, ascending.
    pub inline: Vec<InlineRows>,
    /// The rows of the other tasks; none if all were inline.
    pub shuffle: Option<Arc<ShuffleSource>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct InlineRows {
    pub task: TaskIndex,
    pub rows: u64,
    pub batches: Vec<bytes::Bytes>,
}

/// What a sink made visible.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outputs {
    pub target: String,
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
}
