//! A job as clients see it: a snapshot that is replaced, never changed.

use std::sync::Arc;

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{JobState, JobTotals},
    ids::{AttemptNumber, ExecutorId, JobId, StageId, StatementIndex, TaskIndex},
    task::AttemptMetrics,
};
use serde::{Deserialize, Serialize};

use super::{JobFailure, JobSpec, Outputs, StageOutput, StatementKind};

/// What `GET /jobs/{id}` answers with, and what the store keeps of a job that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    pub job: JobId,
    #[serde(with = "penstock_protocol::arc")]
    pub spec: Arc<JobSpec>,
    pub definition_hash: String,
    #[serde(rename = "try")]
    pub try_number: u32,
    pub continues: Option<JobId>,
    pub state: JobState,
    /// Grows with each visible change.
    pub version: u64,
    /// Why nothing happens right now, such as `no executor is connected`.
    pub waiting: Option<String>,
    pub submitted_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub progress: Progress,
    pub totals: JobTotals,
    pub failure: Option<JobFailure>,
    pub statements: Vec<StatementStatus>,
}

/// Stages and tasks of the statements that were planned so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    pub statements_total: u32,
    pub statements_finished: u32,
    pub stages_total: u32,
    pub stages_finished: u32,
    pub tasks_total: u32,
    pub tasks_finished: u32,
    pub tasks_running: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatementStatus {
    pub index: StatementIndex,
    #[serde(with = "penstock_protocol::arc")]
    pub sql: Arc<str>,
    /// Known once the statement is planned.
    pub kind: Option<StatementKind>,
    pub state: StatementState,
    /// Of its result or its output, once finished.
    pub rows: Option<u64>,
    pub has_result: bool,
    pub outputs: Option<Outputs>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StatementState {
    Waiting,
    Planning,
    Running,
    Publishing,
    Succeeded,
    Failed,
    Cancelled,
    /// The job ended before its turn.
    Skipped,
}

/// What `GET /jobs/{id}/stages` answers with; kept as long as the core remembers the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageStatus {
    pub stage: StageId,
    pub statement: StatementIndex,
    pub name: String,
    pub state: StageState,
    pub output: StageOutput,
    pub inputs: Vec<StageId>,
    pub tasks_total: u32,
    pub tasks_finished: u32,
    pub tasks_running: u32,
    pub attempts_failed: u32,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Over the winners.
    pub rows_out: u64,
    pub output_bytes: u64,
    /// New epochs that partitions of its shuffle needed: locations that were full or lost a copy.
    pub epochs_added: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StageState {
    /// Some input is not committed.
    Waiting,
    /// Waits for room in the shuffle service.
    Reserving,
    Running,
    /// All tasks have a winner; the shuffle is being committed.
    Committing,
    Succeeded,
    /// The job ended first.
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    pub task: TaskIndex,
    pub winner: Option<AttemptNumber>,
    pub attempts: Vec<AttemptStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptStatus {
    pub attempt: AttemptNumber,
    pub executor: ExecutorId,
    pub state: AttemptState,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub failure: Option<String>,
    /// Without the operators, which are in the event log.
    pub metrics: Option<Box<AttemptMetrics>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AttemptState {
    Running,
    /// Asked to stop; its slot is free when it says so.
    Stopping,
    Succeeded,
    Failed,
    Cancelled,
    /// Its executor is gone.
    Lost,
}

/// What `GET /executors` answers with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutorStatus {
    pub executor: ExecutorId,
    pub host: String,
    pub state: ExecutorState,
    pub slots: u32,
    pub slots_used: u32,
    pub connected_at: Timestamp,
    pub seen_at: Timestamp,
    pub attempts_succeeded: u64,
    pub attempts_failed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExecutorState {
    Active,
    Draining,
    /// Its stream is cut; it may come back within the grace.
    Disconnected,
}
