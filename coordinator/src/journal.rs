//! What must survive the coordinator: the facts from which a job's state can be built again.
//!
//! Append-only, one sequence per job. A record is written before anyone outside can see what it says. Readers refuse a
//! version that they do not know. Not here: storage, replay.

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::JobState,
    ids::{AttemptNumber, ExecutorId, Incarnation, ShuffleId, StageId, StatementIndex, TaskIndex},
    shuffle::{Location, MapOutput, PartitionSource, ShuffleTarget, Winner},
    task::WrittenFile,
};
use serde::{Deserialize, Serialize};

use crate::job::{JobFailure, JobSpec, Outputs, StageSpec, StatementKind};

/// Version of all records together.
pub const VERSION: u32 = 1;

/// One fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub at: Timestamp,
    #[serde(flatten)]
    pub fact: Fact,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Fact {
    Submitted {
        spec: Box<JobSpec>,
        try_number: u32,
        continues: Option<penstock_protocol::ids::JobId>,
    },
    /// The script was parsed and bound.
    Prepared {
        statements: u32,
    },
    /// The stages run again from the same plan only if planning is repeated on the same input; `spec` says what to
    /// compare.
    Planned {
        statement: StatementIndex,
        kind: StatementKind,
        stages: Vec<StageSpec>,
    },
    /// Known before any client pushes.
    Reserved {
        target: ShuffleTarget,
    },
    /// New epochs of a shuffle, known before any executor hears of them.
    Extended {
        shuffle: ShuffleId,
        locations: Vec<Location>,
    },
    /// Known before any executor is told.
    Dispatched {
        attempts: Vec<DispatchedAttempt>,
    },
    /// Set once. The output is what the winner reported.
    Won {
        stage: StageId,
        task: TaskIndex,
        attempt: AttemptNumber,
        output: WinnerOutput,
    },
    /// Known before any consumer reads.
    Committed {
        shuffle: ShuffleId,
        winners: Vec<Winner>,
        partitions: Vec<PartitionSource>,
    },
    /// Files may become visible from here on.
    Publishing {
        statement: StatementIndex,
        files: Vec<WrittenFile>,
    },
    /// They are visible.
    Published {
        statement: StatementIndex,
        outputs: Outputs,
    },
    StatementFinished {
        statement: StatementIndex,
        rows: u64,
    },
    CancelRequested {
        reason: String,
    },
    Finished {
        state: JobState,
        failure: Option<JobFailure>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DispatchedAttempt {
    pub stage: StageId,
    pub task: TaskIndex,
    pub attempt: AttemptNumber,
    pub executor: ExecutorId,
    pub incarnation: Incarnation,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WinnerOutput {
    Shuffle(MapOutput),
    /// The rows themselves are not kept: after a restart this task runs again.
    Inline {
        rows: u64,
    },
    Files(Vec<WrittenFile>),
}

#[cfg(test)]
mod tests;
