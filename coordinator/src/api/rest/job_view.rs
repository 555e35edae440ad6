//! A job as clients see it. Secrets are hidden here.

use std::collections::BTreeMap;

use penstock_common::clock::Timestamp;
use penstock_protocol::event::JobTotals;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::class_name;
use crate::{
    api::Api,
    job::{JobFailure, JobStatus, Outputs, Progress, Rerun, StatementStatus},
    secrets::{SecretValues, mask_script},
};

#[derive(Debug, Serialize, ToSchema)]
pub struct JobView {
    pub job_id: String,
    pub name: String,
    #[serde(rename = "try")]
    pub try_number: u32,
    /// The failed try that this one continues.
    pub continues: Option<String>,
    /// `QUEUED`, `PLANNING`, `RUNNING`, `SUCCEEDED`, `FAILED` or `CANCELLED`.
    pub state: String,
    /// Grows with each change; pass it as `since` to wait for the next.
    pub version: u64,
    /// Why nothing happens right now.
    pub waiting: Option<String>,
    pub owner: Option<String>,
    pub client: String,
    pub labels: BTreeMap<String, String>,
    /// All times are RFC 3339 in UTC.
    pub submitted_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub progress: ProgressView,
    pub totals: TotalsView,
    pub failure: Option<FailureView>,
    pub statements: Vec<StatementView>,
    /// Stages that ran again, in the order in which that was decided.
    pub reruns: Vec<RerunView>,
    pub url: String,
    pub history_url: Option<String>,
    pub definition_hash: String,
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ProgressView {
    pub statements_total: u32,
    pub statements_finished: u32,
    /// Stages and tasks are counted for the statements that were planned so far.
    pub stages_total: u32,
    pub stages_finished: u32,
    pub tasks_total: u32,
    pub tasks_finished: u32,
    pub tasks_running: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TotalsView {
    pub rows: u64,
    pub scanned_bytes: u64,
    pub shuffled_bytes: u64,
    pub spilled_bytes: u64,
    pub written_bytes: u64,
    /// Sum of the run times of all attempts.
    pub slot_seconds: f64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FailureView {
    pub class: &'static str,
    pub message: String,
    pub advice: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct StatementView {
    pub index: u32,
    pub sql: String,
    /// `query`, `sink`, `catalog`, `rows` or `set`; none until it is planned.
    pub kind: Option<String>,
    pub state: String,
    pub rows: Option<u64>,
    /// Whether its rows can be fetched.
    pub has_result: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<OutputsView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RerunView {
    pub stage: u32,
    pub stage_name: String,
    /// The run that began: that of its attempts and of its shuffle.
    pub run: u32,
    pub at: String,
    /// Such as `ran again because its shuffle data was lost: worker w1: …`.
    pub message: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OutputsView {
    pub target: String,
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
}

impl JobView {
    pub fn new(api: &Api, status: &JobStatus) -> Self {
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            job_id: status.job.to_string(),
            name: status.spec.name.clone(),
            try_number: status.try_number,
            continues: status.continues.map(|job| job.to_string()),
            state: name_of(&status.state),
            version: status.version,
            waiting: status.waiting.clone(),
            owner: status.spec.owner.clone(),
            client: status.spec.client.clone(),
            labels: status.spec.labels.clone(),
            submitted_at: status.submitted_at.to_string(),
            started_at: text(status.started_at),
            finished_at: text(status.finished_at),
            progress: status.progress.into(),
            totals: (&status.totals).into(),
            failure: status.failure.as_ref().map(|failure| {
                let secrets = SecretValues::of(&status.spec);
                let mut view = FailureView::from(failure);
                view.message = secrets.hide(&view.message);
                view
            }),
            statements: status.statements.iter().map(StatementView::from).collect(),
            reruns: status.reruns.iter().map(RerunView::from).collect(),
            url: api.job_url(status.job),
            history_url: api.history_url(status.job),
            definition_hash: status.definition_hash.clone(),
            idempotency_key: status.spec.idempotency_key.clone(),
        }
    }
}

/// The name that an enumeration has in JSON.
pub fn name_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

impl From<Progress> for ProgressView {
    fn from(progress: Progress) -> Self {
        Self {
            statements_total: progress.statements_total,
            statements_finished: progress.statements_finished,
            stages_total: progress.stages_total,
            stages_finished: progress.stages_finished,
            tasks_total: progress.tasks_total,
            tasks_finished: progress.tasks_finished,
            tasks_running: progress.tasks_running,
        }
    }
}

impl From<&JobTotals> for TotalsView {
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

impl From<&JobFailure> for FailureView {
    fn from(failure: &JobFailure) -> Self {
        let place = failure.place.clone();
        Self {
            class: class_name(failure.failure.class),
            message: failure.failure.message.clone(),
            advice: failure.failure.advice.clone(),
            statement: place.statement,
            stage: place.stage,
            stage_name: place.stage_name,
            task: place.task,
            attempt: place.attempt,
            executor: place.executor,
            line: place.line,
            column: place.column,
        }
    }
}

impl From<&StatementStatus> for StatementView {
    fn from(statement: &StatementStatus) -> Self {
        Self {
            index: statement.index.0,
            sql: mask_script(&statement.sql),
            kind: statement.kind.as_ref().map(name_of),
            state: name_of(&statement.state),
            rows: statement.rows,
            has_result: statement.has_result,
            outputs: statement.outputs.as_ref().map(OutputsView::from),
        }
    }
}

impl From<&Rerun> for RerunView {
    fn from(rerun: &Rerun) -> Self {
        Self {
            stage: rerun.stage.0,
            stage_name: rerun.stage_name.clone(),
            run: rerun.run,
            at: rerun.at.to_string(),
            message: format!("ran again because {}", rerun.reason),
        }
    }
}

impl From<&Outputs> for OutputsView {
    fn from(outputs: &Outputs) -> Self {
        Self {
            target: outputs.target.clone(),
            files: outputs.files,
            rows: outputs.rows,
            bytes: outputs.bytes,
        }
    }
}
