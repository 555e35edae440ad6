//! Stage definitions, task assignments and attempt reports as plain types.
//!
//! A stage is defined once to an executor; each of its tasks then adds only its own files and partitions.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{AttemptId, JobId, ShuffleId, StageId},
    shuffle::{MapOutput, PartitionSource, ShuffleTarget, Winner},
};

/// What all tasks of a stage share. `plan` is the engine's encoding and opaque to everyone else.
#[derive(Debug, Clone, PartialEq)]
pub struct StageDefinition {
    pub job: JobId,
    pub stage: StageId,
    pub plan: Bytes,
    /// Session settings: coordinator and executors build the same session from them.
    pub settings: BTreeMap<String, String>,
    /// The exchanges that the plan reads, in the order of the plan's exchange numbers.
    pub inputs: Vec<StageInput>,
    pub output: OutputTarget,
}

/// One exchange that a stage reads; the partitions come with each task.
#[derive(Debug, Clone, PartialEq)]
pub struct StageInput {
    pub shuffle: ShuffleId,
    pub winners: Vec<Winner>,
}

/// Where a stage's rows go.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputTarget {
    Shuffle(ShuffleTarget),
    /// The last stage of a query: up to `inline_bytes_max` ride in the report, more goes to the shuffle.
    Result {
        target: ShuffleTarget,
        inline_bytes_max: u64,
    },
    /// A sink: files under `staging_url`, in a folder of the attempt's own.
    Files {
        staging_url: String,
    },
}

/// One attempt to run.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskAssignment {
    pub attempt: AttemptId,
    /// `scans[i]` are the files of the plan's i-th scan that this task reads.
    pub scans: Vec<Vec<ScanFile>>,
    /// `reads[i]` are the partitions of the stage's i-th input that this task reads.
    pub reads: Vec<Vec<PartitionSource>>,
}

/// A file, or a byte range of one, as it was when the statement was planned.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanFile {
    /// Path within the object store of the scan.
    pub path: String,
    pub size_bytes: u64,
    pub last_modified_ms: i64,
    pub e_tag: Option<String>,
    pub version: Option<String>,
    /// Bytes `start..end` of the file; the whole file if absent.
    pub range: Option<(u64, u64)>,
    /// Hive partition values, in the engine's encoding of scalars.
    pub partition_values: Vec<Bytes>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptReport {
    pub attempt: AttemptId,
    pub outcome: AttemptOutcome,
    pub metrics: AttemptMetrics,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AttemptOutcome {
    Succeeded(TaskOutput),
    Failed(Failure),
    Cancelled,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TaskOutput {
    /// All batches were acknowledged.
    Shuffle(MapOutput),
    /// The whole result of this task, as payloads in the engine's encoding, in order.
    Inline { rows: u64, batches: Vec<Bytes> },
    /// Files that wait under the staging folder to be published.
    Files(Vec<WrittenFile>),
}

/// A finished file of a sink attempt, not visible yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WrittenFile {
    /// Below the staging folder of the statement.
    pub staged_path: String,
    /// Below the target folder, hive partition folders included.
    pub final_path: String,
    pub rows: u64,
    pub bytes: u64,
}

/// Whose fault a failure is; decides whether a retry can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureClass {
    UserSql,
    UserData,
    Resources,
    Infrastructure,
    Cancelled,
    Internal,
}

impl FailureClass {
    /// Whether another attempt may end differently. Data and SQL stay wrong however often they are read.
    pub fn retry_may_help(self) -> bool {
        matches!(self, Self::Resources | Self::Infrastructure | Self::Internal)
    }
}

/// One failure, one line: what went wrong, on which input, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub class: FailureClass,
    pub message: String,
    /// What the user can do about it.
    pub advice: Option<String>,
    /// A shuffle whose data could not be read: the stage that wrote it has to run again.
    pub lost_shuffle: Option<ShuffleId>,
}

/// What an attempt used. Times are in milliseconds of wall clock unless they say CPU.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AttemptMetrics {
    pub rows_in: u64,
    pub rows_out: u64,
    /// Bytes read from files.
    pub scanned_bytes: u64,
    pub shuffle_read_bytes: u64,
    pub shuffle_written_bytes: u64,
    pub spilled_bytes: u64,
    pub written_bytes: u64,
    pub memory_peak_bytes: u64,
    pub run_ms: u64,
    pub cpu_ms: u64,
    pub shuffle_read_wait_ms: u64,
    pub shuffle_write_wait_ms: u64,
    pub operators: Vec<OperatorMetrics>,
}

/// Metrics of one operator of the stage's plan, by its position in pre-order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OperatorMetrics {
    /// Position in pre-order of the stage's plan: equal over all tasks of the stage.
    pub operator: u32,
    /// Position of the parent; none for the root.
    pub parent: Option<u32>,
    pub name: String,
    /// The operator as `EXPLAIN` prints it.
    pub detail: String,
    pub rows_out: u64,
    pub cpu_ms: f64,
    pub spilled_bytes: u64,
    pub memory_peak_bytes: u64,
    /// Every other counter by its DataFusion name.
    pub counters: BTreeMap<String, u64>,
}

/// A task that an executor says it still runs, told when it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningAttempt {
    pub attempt: AttemptId,
}
