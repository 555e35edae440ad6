//! The attempts of one stage, a page at a time.

use std::cmp::Reverse;

use penstock_protocol::{
    ids::{AttemptNumber, TaskIndex},
    task::AttemptMetrics,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{FailureView, rfc3339};
use crate::model::{Attempt, Stage};

#[derive(Debug, Clone, Default)]
pub struct TaskQuery {
    pub offset: usize,
    pub limit: usize,
    /// `task` (the default) or a metric, largest first.
    pub sort: Option<String>,
    /// Only attempts in this state.
    pub state: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskPage {
    pub attempts: Vec<AttemptView>,
    /// Attempts in all pages.
    pub total: usize,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptView {
    pub task: u32,
    pub attempt: u32,
    /// The run of the stage that it worked for.
    pub run: u32,
    /// `running`, `succeeded`, `failed`, `cancelled`, `lost` or `other`.
    pub state: String,
    pub winner: bool,
    pub executor: String,
    pub queued_ms: u64,
    pub started_at: String,
    pub finished_at: Option<String>,
    /// Until now for a running one.
    pub duration_ms: i64,
    pub failure: Option<FailureView>,
    pub metrics: Option<Metrics>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Metrics {
    pub rows_in: u64,
    pub rows_out: u64,
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
}

pub fn tasks(stage: &Stage, query: &TaskQuery, end_ms: i64) -> TaskPage {
    let mut found: Vec<_> = stage
        .attempts()
        .filter(|(_, _, attempt)| query.state.as_deref().is_none_or(|state| state == attempt.state.as_str()))
        .collect();
    if let Some(value) = query.sort.as_deref().and_then(sort_value) {
        found.sort_by_key(|(_, _, attempt)| Reverse(value(attempt)));
    }
    let total = found.len();
    let attempts = found
        .into_iter()
        .skip(query.offset)
        .take(query.limit)
        .map(|(task, number, attempt)| view(task, number, attempt, end_ms))
        .collect();
    TaskPage { attempts, total }
}

fn sort_value(name: &str) -> Option<fn(&Attempt) -> u64> {
    macro_rules! by {
        ($field:ident) => {
            Some(|attempt| attempt.metrics.as_ref().map_or(0, |metrics| metrics.$field))
        };
    }
    match name {
        "queued_ms" => Some(|attempt| attempt.queued_ms),
        "run_ms" => by!(run_ms),
        "cpu_ms" => by!(cpu_ms),
        "rows_in" => by!(rows_in),
        "rows_out" => by!(rows_out),
        "scanned_bytes" => by!(scanned_bytes),
        "shuffle_read_bytes" => by!(shuffle_read_bytes),
        "shuffle_written_bytes" => by!(shuffle_written_bytes),
        "shuffle_read_wait_ms" => by!(shuffle_read_wait_ms),
        "shuffle_write_wait_ms" => by!(shuffle_write_wait_ms),
        "spilled_bytes" => by!(spilled_bytes),
        "memory_peak_bytes" => by!(memory_peak_bytes),
        _ => None,
    }
}

fn view(task: TaskIndex, number: AttemptNumber, attempt: &Attempt, end_ms: i64) -> AttemptView {
    AttemptView {
        task: task.0,
        attempt: number.0,
        run: attempt.run,
        state: attempt.state.as_str().to_owned(),
        winner: attempt.winner,
        executor: attempt.executor.to_string(),
        queued_ms: attempt.queued_ms,
        started_at: rfc3339(attempt.started_at_ms),
        finished_at: attempt.finished_at_ms.map(rfc3339),
        duration_ms: (attempt.finished_at_ms.unwrap_or(end_ms) - attempt.started_at_ms).max(0),
        failure: attempt.failure.as_deref().map(FailureView::from),
        metrics: attempt.metrics.as_deref().map(Metrics::from),
    }
}

impl From<&AttemptMetrics> for Metrics {
    fn from(metrics: &AttemptMetrics) -> Self {
        let AttemptMetrics {
            rows_in,
            rows_out,
            scanned_bytes,
            shuffle_read_bytes,
            shuffle_written_bytes,
            spilled_bytes,
            written_bytes,
            memory_peak_bytes,
            run_ms,
            cpu_ms,
            shuffle_read_wait_ms,
            shuffle_write_wait_ms,
            operators: _,
        } = *metrics;
        Self {
            rows_in,
            rows_out,
            scanned_bytes,
            shuffle_read_bytes,
            shuffle_written_bytes,
            spilled_bytes,
            written_bytes,
            memory_peak_bytes,
            run_ms,
            cpu_ms,
            shuffle_read_wait_ms,
            shuffle_write_wait_ms,
        }
    }
}
