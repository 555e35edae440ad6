//! A job in the list.

use std::collections::BTreeMap;

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{JobState, JobTotals, Summary},
    ids::JobId,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{FailureView, rfc3339};
use crate::{
    index::{Entry, search::duration_ms},
    model::JobModel,
};

/// Characters of the script that the list shows.
const SCRIPT_LINE_MAX: usize = 160;

#[derive(Debug, Serialize, ToSchema)]
pub struct JobRow {
    pub job_id: String,
    pub name: String,
    /// `QUEUED`, `PLANNING`, `RUNNING`, `SUCCEEDED`, `FAILED`, `CANCELLED` or `LOST`.
    pub state: String,
    pub owner: Option<String>,
    pub client: String,
    pub labels: BTreeMap<String, String>,
    #[serde(rename = "try")]
    pub try_number: u32,
    pub continues: Option<String>,
    pub submitted_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    /// From submission to the end, or until now.
    pub duration_ms: i64,
    pub progress: Progress,
    pub totals: Totals,
    pub failure: Option<FailureView>,
    /// The beginning of the script on one line.
    pub script_line: String,
}

#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Progress {
    pub stages_total: u32,
    pub stages_finished: u32,
    pub tasks_total: u32,
    pub tasks_finished: u32,
    pub tasks_running: u32,
}

#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Totals {
    pub rows: u64,
    pub scanned_bytes: u64,
    pub shuffled_bytes: u64,
    pub spilled_bytes: u64,
    pub written_bytes: u64,
    pub slot_seconds: f64,
}

impl From<&JobTotals> for Totals {
    fn from(totals: &JobTotals) -> Self {
        Self {
            rows: totals.rows,
            scanned_bytes: totals.scanned_bytes,
            shuffled_bytes: totals.shuffled_bytes,
            spilled_bytes: totals.spilled_bytes,
            written_bytes: totals.written_bytes,
            slot_seconds: totals.slot_seconds,
        }
    }
}

pub fn row(job: JobId, entry: &Entry, now: Timestamp) -> JobRow {
    let summary = &*entry.summary;
    JobRow {
        job_id: job.to_string(),
        name: summary.name.clone(),
        state: state_name(entry.state).to_owned(),
        owner: summary.owner.clone(),
        client: summary.client.clone(),
        labels: summary.labels.clone(),
        try_number: summary.try_number,
        continues: summary.continues.map(|job| job.to_string()),
        submitted_at: rfc3339(summary.submitted_at_ms),
        started_at: summary.started_at_ms.map(rfc3339),
        finished_at: summary.finished_at_ms.map(rfc3339),
        duration_ms: duration_ms(entry, now),
        progress: Progress {
            stages_total: summary.stages_total,
            stages_finished: summary.stages_finished,
            tasks_total: summary.tasks_total,
            tasks_finished: summary.tasks_finished,
            tasks_running: 0,
        },
        totals: Totals::from(&summary.totals),
        failure: summary.failure.as_ref().map(FailureView::from),
        script_line: script_line(&summary.script_head),
    }
}

pub fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "QUEUED",
        JobState::Planning => "PLANNING",
        JobState::Running => "RUNNING",
        JobState::Succeeded => "SUCCEEDED",
        JobState::Failed => "FAILED",
        JobState::Cancelled => "CANCELLED",
        JobState::Lost => "LOST",
    }
}

/// The summary that the coordinator would have written, from the log alone; `None` if not even the job's submission
/// is in it.
pub fn summary_of(job: JobId, model: &JobModel) -> Option<Summary> {
    let submitted = model.submitted.as_ref()?;
    let finished = model.finished.as_ref();
    let progress = progress(model);
    Some(Summary {
        v: model.log.version,
        job,
        name: submitted.name.clone(),
        state: model.state(),
        owner: submitted.owner.clone(),
        client: submitted.client.clone(),
        script_head: submitted.script.chars().take(2000).collect(),
        labels: submitted.labels.clone(),
        source: submitted.source.clone(),
        try_number: submitted.try_number,
        continues: submitted.continues,
        submitted_at_ms: model.submitted_at_ms.unwrap_or(model.last_at_ms),
        started_at_ms: model.started_at_ms,
        finished_at_ms: finished.map(|finished| finished.at_ms),
        updated_at_ms: model.last_at_ms,
        stages_total: progress.stages_total,
        stages_finished: progress.stages_finished,
        tasks_total: progress.tasks_total,
        tasks_finished: progress.tasks_finished,
        totals: finished
            .map(|finished| finished.event.totals.clone())
            .unwrap_or_else(|| running_totals(model)),
        failure: finished.and_then(|finished| finished.event.failure.clone()),
        build: submitted.build.clone(),
    })
}

pub fn progress(model: &JobModel) -> Progress {
    let mut progress = Progress::default();
    for stage in model.stages.values() {
        progress.stages_total += 1;
        progress.stages_finished += u32::from(stage.outcome.as_deref() == Some("succeeded"));
        progress.tasks_total += stage.tasks_total();
        progress.tasks_finished += stage.tasks_finished();
        let running = stage.attempts().filter(|(_, _, attempt)| attempt.finished_at_ms.is_none()).count();
        progress.tasks_running += u32::try_from(running).unwrap_or(u32::MAX);
    }
    progress
}

/// Totals so far, over all attempts that have reported.
pub fn running_totals(model: &JobModel) -> JobTotals {
    let mut totals = JobTotals::default();
    for attempt in model.stages.values().flat_map(|stage| stage.attempts().map(|(_, _, attempt)| attempt)) {
        if let Some(metrics) = &attempt.metrics {
            totals.add_attempt(metrics);
        }
    }
    totals
}

fn script_line(script: &str) -> String {
    let mut line = String::new();
    for word in
        script.lines().filter(|line| !line.trim_start().starts_with("--")).flat_map(str::split_whitespace)
    {
        if line.chars().count() + word.chars().count() >= SCRIPT_LINE_MAX {
            line.push('…');
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}
