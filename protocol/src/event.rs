//! Records of a job's event log: what happened, when, with the numbers that explain it.
//!
//! The log is JSON lines; readers ignore unknown fields and skip unknown event types, so additions are safe. A field is
//! never renamed or given another meaning: frozen samples in the tests hold every released version.

mod cluster;
mod shuffle;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AttemptNumber, ExecutorId, JobId, PartitionIndex, StageId, StatementIndex, TaskIndex, WorkerId},
    shuffle::PartitionTotals,
    task::{AttemptMetrics, Failure},
};

pub use cluster::{
    CLUSTER_EVENTS_MAX, CLUSTER_LOG_PATH, ClusterEvent, ClusterLog, ClusterRecord, DiskStanding,
    MastersSilent, WorkerStanding,
};
pub use shuffle::{
    CommittedWorker, EpochsEnded, LargePartition, PARTITIONS_MAX, PlacedWorker, Quantiles, ShuffleCommitted,
    ShuffleGrew, ShuffleLost, ShufflePlaced, ShufflesReleased, StageRun, WORKERS_MAX, bounded,
    placed_workers,
};

/// Version of the envelope and of all event types together.
pub const SCHEMA_VERSION: u32 = 1;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA_VERSION`] of the writer.
    pub v: u32,
    /// Grows by one with each record of the job; a gap means lost records.
    pub seq: u64,
    /// Milliseconds since the Unix epoch, by the coordinator's clock.
    pub at_ms: i64,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    JobSubmitted(JobSubmitted),
    JobStarted {},
    StatementPlanned(StatementPlanned),
    StatementFinished {
        statement: StatementIndex,
    },
    StageStarted {
        stage: StageId,
    },
    StageFinished(StageFinished),
    /// The stage starts over: what its former winners wrote counts no longer.
    StageRunAgain(StageRunAgain),
    AttemptStarted {
        stage: StageId,
        task: TaskIndex,
        attempt: AttemptNumber,
        /// The run of the stage that the attempt works for.
        #[serde(default, skip_serializing_if = "is_zero")]
        run: u32,
        executor: ExecutorId,
        queued_ms: u64,
    },
    AttemptFinished(Box<AttemptFinished>),
    ShufflePlaced(ShufflePlaced),
    ShuffleGrew(ShuffleGrew),
    ShuffleCommitted(Box<ShuffleCommitted>),
    ShuffleLost(ShuffleLost),
    ShufflesReleased(ShufflesReleased),
    ExchangeCommitted(ExchangeCommitted),
    ExecutorJoined {
        executor: ExecutorId,
        host: String,
        slots: u32,
    },
    ExecutorLost {
        executor: ExecutorId,
        reason: String,
    },
    /// It takes no new work and leaves when what it runs has ended.
    ExecutorDraining {
        executor: ExecutorId,
    },
    /// How busy an executor was that ran an attempt of the job: since the last record of it, and at most 10 s apart.
    ExecutorSampled {
        executor: ExecutorId,
        /// Cores, in the mean.
        cpu_used: f64,
        /// At the peak.
        memory_used_bytes: u64,
        memory_limit_bytes: u64,
        /// At the peak.
        scratch_used_bytes: u64,
    },
    OutputsCommitted(OutputsCommitted),
    Warning {
        message: String,
    },
    /// Samples that were dropped because the log could not keep up.
    SamplesDropped {
        count: u64,
    },
    JobFinished(JobFinished),
    /// Written by a newer version; kept so that a reader can show that something is missing.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSubmitted {
    pub job: JobId,
    pub name: String,
    pub script: String,
    /// Parameter names with their values as text; values of secret parameters are masked before they get here.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    #[serde(default)]
    pub settings: BTreeMap<String, SettingValue>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub owner: Option<String>,
    /// `cli`, `rest`, `flight` or `airflow`.
    pub client: String,
    /// Airflow's dag, run, task and try, if it came from there.
    #[serde(default)]
    pub source: Option<serde_json::Value>,
    #[serde(rename = "try")]
    pub try_number: u32,
    #[serde(default)]
    pub continues: Option<JobId>,
    pub build: String,
}

/// A setting and the layer that it came from: `default`, `config`, `job` or `script`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingValue {
    pub value: String,
    pub layer: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatementPlanned {
    pub statement: StatementIndex,
    pub sql: String,
    /// `query`, `sink`, `catalog` or `explain`.
    pub kind: String,
    #[serde(default)]
    pub logical_plan: String,
    #[serde(default)]
    pub physical_plan: String,
    #[serde(default)]
    pub stages: Vec<PlannedStage>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStage {
    pub stage: StageId,
    /// Short description, such as `HashJoin(o_custkey = c_custkey)`.
    pub name: String,
    pub tasks: u32,
    pub output_partitions: u32,
    /// How the stage's rows leave it: `hash(l_orderkey)`, `gather`, `result` or `files`.
    pub output: String,
    pub inputs: Vec<PlannedInput>,
    /// The stage's operators in pre-order; `parent` gives the tree.
    pub operators: Vec<PlannedOperator>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedInput {
    pub stage: StageId,
    /// `partitioned` (task i reads partition i), `gather` or `broadcast` (every task reads all).
    pub mode: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedOperator {
    pub operator: u32,
    pub parent: Option<u32>,
    pub name: String,
    pub detail: String,
    #[serde(default)]
    pub estimated_rows: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageFinished {
    pub stage: StageId,
    /// `succeeded`, `failed` or `cancelled`.
    pub state: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRunAgain {
    pub stage: StageId,
    /// The new run: larger than that of any attempt or exchange of the stage before.
    pub run: u32,
    /// Goes on after "the stage ran again because".
    pub reason: String,
}

fn is_zero(run: &u32) -> bool {
    *run == 0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptFinished {
    pub stage: StageId,
    pub task: TaskIndex,
    pub attempt: AttemptNumber,
    pub executor: ExecutorId,
    /// `succeeded`, `failed`, `cancelled` or `lost`; only a succeeded attempt can be the winner.
    pub state: String,
    pub winner: bool,
    #[serde(default)]
    pub failure: Option<Failure>,
    #[serde(default)]
    pub metrics: Option<AttemptMetrics>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExchangeCommitted {
    pub stage: StageId,
    pub run: u32,
    /// All, or of more than [`ExchangeCommitted::PARTITIONS_MAX`] the largest by number;
    /// [`ShuffleCommitted`] has the totals of all.
    pub partitions: Vec<ExchangePartition>,
}

impl ExchangeCommitted {
    /// Partitions that one record names.
    pub const PARTITIONS_MAX: usize = 4096;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExchangePartition {
    pub partition: PartitionIndex,
    pub totals: PartitionTotals,
    pub workers: Vec<WorkerId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputsCommitted {
    pub statement: StatementIndex,
    /// Table name or location.
    pub target: String,
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// Totals over all attempts of a job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobTotals {
    pub rows: u64,
    pub scanned_bytes: u64,
    pub shuffled_bytes: u64,
    pub spilled_bytes: u64,
    pub written_bytes: u64,
    /// Sum over attempts of their run time.
    pub slot_seconds: f64,
}

impl JobTotals {
    /// Adds what one attempt used, whatever became of it. Rows are those of results and outputs, which only winners
    /// have: they are not counted here.
    pub fn add_attempt(&mut self, metrics: &AttemptMetrics) {
        self.scanned_bytes += metrics.scanned_bytes;
        self.shuffled_bytes += metrics.shuffle_written_bytes;
        self.spilled_bytes += metrics.spilled_bytes;
        self.written_bytes += metrics.written_bytes;
        self.slot_seconds += metrics.run_ms as f64 / 1000.0;
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobFinished {
    pub state: JobState,
    #[serde(default)]
    pub failure: Option<Failure>,
    pub totals: JobTotals,
}

/// A job's state as clients, log and pages show it. Only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    Queued,
    Planning,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    /// The coordinator died and nobody will go on; said by the history server.
    Lost,
}

impl JobState {
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Lost)
    }
}

/// `summary.json` beside the log: enough for lists. Rewritten at each stage end and every 30 s, at most 16 KiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub v: u32,
    pub job: JobId,
    pub name: String,
    pub state: JobState,
    #[serde(default)]
    pub owner: Option<String>,
    pub client: String,
    /// The first 2,000 characters of the script.
    pub script_head: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub source: Option<serde_json::Value>,
    #[serde(rename = "try")]
    pub try_number: u32,
    #[serde(default)]
    pub continues: Option<JobId>,
    pub submitted_at_ms: i64,
    #[serde(default)]
    pub started_at_ms: Option<i64>,
    #[serde(default)]
    pub finished_at_ms: Option<i64>,
    /// When this summary was written; an old one of an unfinished job means that its coordinator is gone.
    pub updated_at_ms: i64,
    pub stages_total: u32,
    pub stages_finished: u32,
    pub tasks_total: u32,
    pub tasks_finished: u32,
    pub totals: JobTotals,
    #[serde(default)]
    pub failure: Option<Failure>,
    pub build: String,
}
