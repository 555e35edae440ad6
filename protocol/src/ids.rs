//! Identifiers: newtypes, so that a map index can never be passed where a partition is meant.
//!
//! Text forms round-trip through `Display` and `FromStr` and are the ones that users see in REST, logs and the CLI.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What could not be read as an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}")]
pub struct ParseIdError {
    pub kind: &'static str,
    pub text: String,
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.parse().map(Self).map_err(|_| ParseIdError { kind: $kind, text: text.to_owned() })
            }
        }
    };
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(#[serde(with = "crate::arc")] Arc<str>);

        impl $name {
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }
    };
}

/// One execution of a script. A UUIDv7, so that ids sort by submission time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.parse().map(Self).map_err(|_| ParseIdError { kind: "job id", text: text.to_owned() })
    }
}

number_id!(
    /// Position of a statement in its script, from 0.
    StatementIndex(u32), "statement index");
number_id!(
    /// A stage, unique within its job over all statements. Also names the exchange that the stage writes.
    StageId(u32), "stage id");
number_id!(
    /// Position of a task in its stage, from 0: the output partition of the stage's plan that it computes.
    TaskIndex(u32), "task index");
number_id!(
    /// Number of an attempt of one task. Journaled before dispatch and never reset, so unique for all time.
    AttemptNumber(u32), "attempt number");
number_id!(
    /// Partition of a shuffle, from 0.
    PartitionIndex(u32), "partition index");
number_id!(
    /// Generation of a partition's location: grows with each split or revive.
    Epoch(u32), "epoch");
number_id!(
    /// Number of a batch, unique within its attempt.
    BatchId(u32), "batch id");
number_id!(
    /// One life of a process: changes at every start, so that nobody answers for a former life.
    Incarnation(u64), "incarnation");

name_id!(
    /// An executor's stable name within its cluster.
    ExecutorId);
name_id!(
    /// A shuffle worker's stable name within its cluster.
    WorkerId);

/// A task: one partition of one stage of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    pub job: JobId,
    pub stage: StageId,
    pub index: TaskIndex,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.job, self.stage, self.index)
    }
}

/// One try of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    pub task: TaskId,
    pub number: AttemptNumber,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task, self.number)
    }
}

/// The stored data of one run of one exchange. A re-run after a loss gets the next `run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShuffleId {
    pub job: JobId,
    /// The stage that writes the exchange.
    pub exchange: StageId,
    pub run: u32,
}

impl fmt::Display for ShuffleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.job, self.exchange, self.run)
    }
}
