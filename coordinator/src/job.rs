//! A job and its parts as small state machines that only move forward.
//!
//! In: what was reported. Out: what follows from it for this job. Not here: executors, slots, other jobs.

mod spec;
mod status;

pub use spec::{
    AttemptTarget, FailurePlace, InlineRows, JobFailure, JobSpec, Outputs, ReadMode, StageOutput, StageSpec,
    StatementKind, StatementPlan, StatementResult, StatementText, StatementWork,
};
pub use status::{
    AttemptState, AttemptStatus, ExecutorState, ExecutorStatus, JobStatus, Progress, StageState, StageStatus,
    StatementState, StatementStatus, TaskStatus,
};
