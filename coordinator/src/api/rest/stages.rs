//! `/jobs/{job}/stages` and their tasks: what the core sees now. Older jobs are in the history server.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use penstock_common::clock::Timestamp;
use penstock_protocol::ids::StageId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    error::{ApiError, ErrorBody},
    job_view::name_of,
    jobs::parse_job,
};
use crate::{
    api::{Api, LookupError},
    job::{AttemptStatus, StageStatus, TaskStatus},
};

#[derive(Debug, Serialize, ToSchema)]
pub struct StageList {
    stages: Vec<StageView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct StageView {
    stage: u32,
    statement: u32,
    name: String,
    state: String,
    output: String,
    inputs: Vec<u32>,
    tasks_total: u32,
    tasks_finished: u32,
    tasks_running: u32,
    attempts_failed: u32,
    started_at: Option<String>,
    finished_at: Option<String>,
    rows_out: u64,
    output_bytes: u64,
    /// New epochs that partitions of the stage's shuffle needed: locations that were full or lost a copy.
    epochs_added: u32,
}

/// The stages that were planned so far.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/stages", tag = "jobs", params(("job" = String, Path)), responses(
    (status = 200, body = StageList), (status = 404, body = ErrorBody), (status = 410, body = ErrorBody),
))]
pub async fn stages(State(api): State<Api>, Path(job): Path<String>) -> Result<Json<StageList>, ApiError> {
    let job = parse_job(&job)?;
    api.status(job).await?;
    let stages = api.effects().inbox.ask(move |core| core.stages(job)).await.map_err(LookupError::from)?;
    let stages = stages.ok_or_else(forgotten)?;
    Ok(Json(StageList { stages: stages.iter().map(StageView::from).collect() }))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskList {
    tasks: Vec<TaskView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskView {
    task: u32,
    /// Number of the attempt whose output counts.
    winner: Option<u32>,
    attempts: Vec<AttemptView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptView {
    attempt: u32,
    executor: String,
    state: String,
    started_at: String,
    finished_at: Option<String>,
    failure: Option<String>,
    /// Without the operators, which are in the event log.
    #[schema(value_type = Option<Object>)]
    metrics: Option<serde_json::Value>,
}

/// The tasks of a stage with their attempts.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/stages/{stage}/tasks", tag = "jobs",
    params(("job" = String, Path), ("stage" = u32, Path)),
    responses((status = 200, body = TaskList), (status = 404, body = ErrorBody), (status = 410, body = ErrorBody)))]
pub async fn tasks(
    State(api): State<Api>,
    Path((job, stage)): Path<(String, String)>,
) -> Result<Json<TaskList>, ApiError> {
    let job = parse_job(&job)?;
    let no_stage =
        || ApiError::new(StatusCode::NOT_FOUND, "unknown_stage", format!("job {job} has no stage {stage}"));
    let number: StageId = stage.parse().map_err(|_| no_stage())?;
    api.status(job).await?;
    let found = api.effects().inbox.ask(move |core| {
        let known = core.status(job).is_some();
        known.then(|| core.tasks(job, number))
    });
    let tasks = found.await.map_err(LookupError::from)?.ok_or_else(forgotten)?.ok_or_else(no_stage)?;
    Ok(Json(TaskList { tasks: tasks.iter().map(TaskView::from).collect() }))
}

fn forgotten() -> ApiError {
    ApiError::new(StatusCode::GONE, "forgotten", "the coordinator no longer holds the stages of this job")
        .with_advice("look at the job in the history server")
}

impl From<&StageStatus> for StageView {
    fn from(stage: &StageStatus) -> Self {
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            stage: stage.stage.0,
            statement: stage.statement.0,
            name: stage.name.clone(),
            state: name_of(&stage.state),
            output: name_of(&stage.output),
            inputs: stage.inputs.iter().map(|input| input.0).collect(),
            tasks_total: stage.tasks_total,
            tasks_finished: stage.tasks_finished,
            tasks_running: stage.tasks_running,
            attempts_failed: stage.attempts_failed,
            started_at: text(stage.started_at),
            finished_at: text(stage.finished_at),
            rows_out: stage.rows_out,
            output_bytes: stage.output_bytes,
            epochs_added: stage.epochs_added,
        }
    }
}

impl From<&TaskStatus> for TaskView {
    fn from(task: &TaskStatus) -> Self {
        Self {
            task: task.task.0,
            winner: task.winner.map(|attempt| attempt.0),
            attempts: task.attempts.iter().map(AttemptView::from).collect(),
        }
    }
}

impl From<&AttemptStatus> for AttemptView {
    fn from(attempt: &AttemptStatus) -> Self {
        Self {
            attempt: attempt.attempt.0,
            executor: attempt.executor.to_string(),
            state: name_of(&attempt.state),
            started_at: attempt.started_at.to_string(),
            finished_at: attempt.finished_at.map(|at| at.to_string()),
            failure: attempt.failure.clone(),
            metrics: attempt.metrics.as_ref().and_then(|metrics| serde_json::to_value(metrics).ok()),
        }
    }
}
