//! Everything that a job's page shows, except its attempts and events, which come in pages of their own.

use std::collections::BTreeMap;

use penstock_common::clock::Timestamp;
use penstock_protocol::{event::JobState, ids::JobId};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    FailureView, Note, Progress, StageView, Totals, notes::notes, rfc3339, row::progress,
    row::running_totals, row::state_name, stage::stages,
};
use crate::model::{AttemptState, JobModel};

#[derive(Debug, Serialize, ToSchema)]
pub struct Job {
    pub job_id: String,
    pub name: String,
    /// `QUEUED`, `PLANNING`, `RUNNING`, `SUCCEEDED`, `FAILED`, `CANCELLED` or `LOST`.
    pub state: String,
    /// Whether it may still change.
    pub live: bool,
    pub owner: Option<String>,
    pub client: String,
    pub labels: BTreeMap<String, String>,
    #[serde(rename = "try")]
    pub try_number: u32,
    pub continues: Option<String>,
    /// Airflow's dag, run, task and try, if it came from there.
    pub source: Option<serde_json::Value>,
    pub build: String,
    pub submitted_at: Option<String>,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub duration_ms: i64,
    pub progress: Progress,
    pub totals: Totals,
    pub failure: Option<FailureView>,
    /// The attempt that the failure came from, if one did.
    pub failed_attempt: Option<FailedAttempt>,
    pub script: String,
    pub parameters: BTreeMap<String, String>,
    pub settings: Vec<Setting>,
    pub statements: Vec<StatementView>,
    pub stages: Vec<StageView>,
    pub notes: Vec<Note>,
    pub log: Health,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FailedAttempt {
    pub stage: u32,
    pub task: u32,
    pub attempt: u32,
    pub executor: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Setting {
    pub key: String,
    pub value: String,
    /// `default`, `config`, `job` or `script`.
    pub layer: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct StatementView {
    pub statement: u32,
    pub sql: String,
    /// `query`, `sink`, `catalog` or `explain`.
    pub kind: String,
    pub logical_plan: String,
    pub physical_plan: String,
    pub planned_at: String,
    pub finished_at: Option<String>,
    pub stages: Vec<u32>,
    pub outputs: Vec<Output>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Output {
    /// Table name or location.
    pub target: String,
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// How much of the log could be read.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Whether everything that happened is on this page.
    pub whole: bool,
    pub segments: u64,
    pub bytes: u64,
    pub records: u64,
    /// Records of types that a newer version wrote.
    pub unknown: u64,
    pub unreadable: u64,
    /// Records that existed and were not found.
    pub missing: u64,
    /// Damaged segments, and what is wrong with each.
    pub cuts: Vec<String>,
    pub warnings: u64,
    pub samples_dropped: u64,
}

/// `state` is the list's, which knows LOST; the log is newer as long as the job is alive.
pub fn page(job: JobId, model: &JobModel, state: JobState, now: Timestamp) -> Job {
    let state = if model.finished.is_some() || !state.is_terminal() { model.state() } else { state };
    let submitted = model.submitted.as_ref();
    let finished = model.finished.as_ref();
    let failure = finished.and_then(|finished| finished.event.failure.as_ref());
    let stages = stages(model, state.is_terminal());
    Job {
        job_id: job.to_string(),
        name: submitted.map_or_else(|| "unknown".to_owned(), |submitted| submitted.name.clone()),
        state: state_name(state).to_owned(),
        live: !state.is_terminal(),
        owner: submitted.and_then(|submitted| submitted.owner.clone()),
        client: submitted.map(|submitted| submitted.client.clone()).unwrap_or_default(),
        labels: submitted.map(|submitted| submitted.labels.clone()).unwrap_or_default(),
        try_number: submitted.map_or(1, |submitted| submitted.try_number),
        continues: submitted.and_then(|submitted| submitted.continues).map(|job| job.to_string()),
        source: submitted.and_then(|submitted| submitted.source.clone()),
        build: submitted.map(|submitted| submitted.build.clone()).unwrap_or_default(),
        submitted_at: model.submitted_at_ms.map(rfc3339),
        started_at: model.started_at_ms.map(rfc3339),
        finished_at: finished.map(|finished| rfc3339(finished.at_ms)),
        duration_ms: end_ms(model, state, now) - model.submitted_at_ms.unwrap_or(model.last_at_ms),
        progress: finished_progress(model, state),
        totals: Totals::from(
            &finished.map_or_else(|| running_totals(model), |finished| finished.event.totals.clone()),
        ),
        failure: failure.map(FailureView::from),
        failed_attempt: failure.and_then(|failure| failed_attempt(model, &failure.message)),
        script: submitted.map(|submitted| submitted.script.clone()).unwrap_or_default(),
        parameters: submitted.map(|submitted| submitted.parameters.clone()).unwrap_or_default(),
        settings: settings(model),
        statements: statements(model),
        notes: notes(model, &stages),
        stages,
        log: health(model, state),
    }
}

/// Where the job's time ends: its end, its last sign of life if it is LOST, or now.
pub fn end_ms(model: &JobModel, state: JobState, now: Timestamp) -> i64 {
    match &model.finished {
        Some(finished) => finished.at_ms,
        None if state.is_terminal() => model.last_at_ms,
        None => now.as_millis().max(model.last_at_ms),
    }
}

fn finished_progress(model: &JobModel, state: JobState) -> Progress {
    let progress = progress(model);
    if state.is_terminal() { Progress { tasks_running: 0, ..progress } } else { progress }
}

fn failed_attempt(model: &JobModel, message: &str) -> Option<FailedAttempt> {
    let attempts =
        model.stages.iter().flat_map(|(id, stage)| stage.attempts().map(move |found| (*id, found)));
    let failed = attempts.filter(|(_, (_, _, attempt))| attempt.state == AttemptState::Failed);
    let (stage, (task, number, attempt)) = failed
        .filter(|(_, (_, _, attempt))| {
            attempt.failure.as_ref().is_some_and(|failure| failure.message == message)
        })
        .max_by_key(|(_, (_, _, attempt))| attempt.finished_at_ms)?;
    Some(FailedAttempt {
        stage: stage.0,
        task: task.0,
        attempt: number.0,
        executor: attempt.executor.to_string(),
    })
}

fn settings(model: &JobModel) -> Vec<Setting> {
    let settings = model.submitted.iter().flat_map(|submitted| &submitted.settings);
    settings
        .map(|(key, setting)| Setting {
            key: key.clone(),
            value: setting.value.clone(),
            layer: setting.layer.clone(),
        })
        .collect()
}

fn statements(model: &JobModel) -> Vec<StatementView> {
    model
        .statements
        .iter()
        .map(|(index, statement)| StatementView {
            statement: index.0,
            sql: statement.sql.clone(),
            kind: statement.kind.clone(),
            logical_plan: statement.logical_plan.clone(),
            physical_plan: statement.physical_plan.clone(),
            planned_at: rfc3339(statement.planned_at_ms),
            finished_at: statement.finished_at_ms.map(rfc3339),
            stages: statement.stages.iter().map(|stage| stage.0).collect(),
            outputs: statement
                .outputs
                .iter()
                .map(|outputs| Output {
                    target: outputs.target.clone(),
                    files: outputs.files,
                    rows: outputs.rows,
                    bytes: outputs.bytes,
                })
                .collect(),
        })
        .collect()
}

/// A segment that may still be being written is a cut one when nobody is left to write it.
fn health(model: &JobModel, state: JobState) -> Health {
    let log = &model.log;
    let mut cuts = log.cuts.clone();
    if state.is_terminal() {
        cuts.extend(
            log.pending_cut.iter().map(|segment| format!("{segment}: it ends in the middle of a record")),
        );
    }
    Health {
        whole: log.unknown == 0 && log.unreadable == 0 && log.missing == 0 && cuts.is_empty(),
        segments: log.segments,
        bytes: log.compressed_bytes,
        records: log.records,
        unknown: log.unknown,
        unreadable: log.unreadable,
        missing: log.missing,
        cuts,
        warnings: model.warnings_total,
        samples_dropped: model.samples_dropped,
    }
}
