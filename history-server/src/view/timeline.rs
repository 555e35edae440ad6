//! All attempts of a job as columns, so that 100,000 of them stay small on the wire and quick to draw.

use std::collections::HashMap;

use penstock_protocol::ids::ExecutorId;
use serde::Serialize;
use utoipa::ToSchema;

use super::rfc3339;
use crate::model::{AttemptState, Executor, JobModel};

/// Times are milliseconds after `origin`. The i-th entries of all lists in `attempts` are one attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct Timeline {
    /// The submission of the job.
    pub origin: String,
    /// The end of the job, or now.
    pub end_ms: i64,
    pub executors: Vec<TimelineExecutor>,
    pub attempts: Attempts,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TimelineExecutor {
    pub executor: String,
    pub host: Option<String>,
    pub slots: Option<u32>,
    pub joined_ms: Option<i64>,
    pub lost_ms: Option<i64>,
    pub lost_reason: Option<String>,
    pub samples: Samples,
}

/// How busy an executor was. The i-th entries of all lists are one sample: the mean of the CPU and the peaks of the rest
/// since the one before.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Samples {
    pub at_ms: Vec<i64>,
    /// Cores.
    pub cpu_used: Vec<f64>,
    pub memory_used_bytes: Vec<u64>,
    pub memory_limit_bytes: Vec<u64>,
    pub scratch_used_bytes: Vec<u64>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Attempts {
    /// Position in `executors`.
    pub executor: Vec<u32>,
    pub stage: Vec<u32>,
    pub task: Vec<u32>,
    pub attempt: Vec<u32>,
    pub queued_ms: Vec<u64>,
    pub start_ms: Vec<i64>,
    /// -1 while it runs.
    pub end_ms: Vec<i64>,
    /// 0 running, 1 succeeded, 2 failed, 3 cancelled, 4 lost, 5 other.
    pub state: Vec<u8>,
    pub winner: Vec<bool>,
}

pub fn timeline(model: &JobModel, end_ms: i64) -> Timeline {
    let origin_ms = model.submitted_at_ms.unwrap_or_default();
    let positions: HashMap<&ExecutorId, u32> = model.executors.keys().zip(0..).collect();
    let mut attempts = Attempts::default();
    for (id, stage) in &model.stages {
        for (task, number, attempt) in stage.attempts() {
            attempts.executor.push(positions.get(&attempt.executor).copied().unwrap_or_default());
            attempts.stage.push(id.0);
            attempts.task.push(task.0);
            attempts.attempt.push(number.0);
            attempts.queued_ms.push(attempt.queued_ms);
            attempts.start_ms.push(attempt.started_at_ms - origin_ms);
            attempts.end_ms.push(attempt.finished_at_ms.map_or(-1, |at| at - origin_ms));
            attempts.state.push(code(attempt.state));
            attempts.winner.push(attempt.winner);
        }
    }
    Timeline { origin: rfc3339(origin_ms), end_ms: end_ms - origin_ms, executors: executors(model), attempts }
}

fn executors(model: &JobModel) -> Vec<TimelineExecutor> {
    let origin_ms = model.submitted_at_ms.unwrap_or_default();
    model
        .executors
        .iter()
        .map(|(id, executor)| TimelineExecutor {
            executor: id.to_string(),
            host: executor.host.clone(),
            slots: executor.slots,
            joined_ms: executor.joined_at_ms.map(|at| at - origin_ms),
            lost_ms: executor.lost.as_ref().map(|(at, _)| at - origin_ms),
            lost_reason: executor.lost.as_ref().map(|(_, reason)| reason.clone()),
            samples: samples(executor, origin_ms),
        })
        .collect()
}

fn samples(executor: &Executor, origin_ms: i64) -> Samples {
    let mut samples = Samples::default();
    for sample in executor.samples.iter() {
        samples.at_ms.push(sample.at_ms - origin_ms);
        samples.cpu_used.push(sample.cpu_used);
        samples.memory_used_bytes.push(sample.memory_used_bytes);
        samples.memory_limit_bytes.push(sample.memory_limit_bytes);
        samples.scratch_used_bytes.push(sample.scratch_used_bytes);
    }
    samples
}

fn code(state: AttemptState) -> u8 {
    match state {
        AttemptState::Running => 0,
        AttemptState::Succeeded => 1,
        AttemptState::Failed => 2,
        AttemptState::Cancelled => 3,
        AttemptState::Lost => 4,
        AttemptState::Other => 5,
    }
}
