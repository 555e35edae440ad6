//! `GET /api/v1/jobs/{job}` and what belongs to one job.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use penstock_protocol::{event::JobState, ids::JobId, ids::StageId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{ApiError, App};
use crate::{
    replay::Replay,
    view::{self, Job, JobShuffle, TaskPage, TaskQuery, Timeline},
};

const TASKS_DEFAULT: usize = 100;
const TASKS_MAX: usize = 1000;

/// Everything that the job's page shows.
#[utoipa::path(get, path = "/api/v1/jobs/{job}", params(("job" = String, Path)),
    responses((status = OK, body = Job), (status = NOT_FOUND)))]
pub async fn page(State(app): State<App>, Path(job): Path<String>) -> Result<Json<Job>, ApiError> {
    let job = parse_job(&job)?;
    let (replay, state) = open(&app, job).await?;
    let replay = replay.lock().await;
    Ok(Json(view::page(job, replay.model(), state, app.clock.now())))
}

/// All attempts by executor, as columns.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/timeline", params(("job" = String, Path)),
    responses((status = OK, body = Timeline), (status = NOT_FOUND)))]
pub async fn timeline(State(app): State<App>, Path(job): Path<String>) -> Result<Json<Timeline>, ApiError> {
    let job = parse_job(&job)?;
    let (replay, state) = open(&app, job).await?;
    let replay = replay.lock().await;
    let end_ms = view::end_ms(replay.model(), state, app.clock.now());
    Ok(Json(view::timeline(replay.model(), end_ms)))
}

/// What happened to the shuffle of each exchange, by worker, and why.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/shuffle", params(("job" = String, Path)),
    responses((status = OK, body = JobShuffle), (status = NOT_FOUND)))]
pub async fn shuffle(State(app): State<App>, Path(job): Path<String>) -> Result<Json<JobShuffle>, ApiError> {
    let (replay, _) = open(&app, parse_job(&job)?).await?;
    let replay = replay.lock().await;
    Ok(Json(view::job_shuffle(replay.model())))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TaskParams {
    offset: Option<usize>,
    limit: Option<usize>,
    /// `task` (the default) or a metric such as `run_ms`, largest first.
    sort: Option<String>,
    /// `running`, `succeeded`, `failed`, `cancelled` or `lost`.
    state: Option<String>,
}

/// The attempts of a stage's tasks.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/stages/{stage}/tasks",
    params(("job" = String, Path), ("stage" = u32, Path), TaskParams),
    responses((status = OK, body = TaskPage), (status = NOT_FOUND)))]
pub async fn tasks(
    State(app): State<App>,
    Path((job, stage)): Path<(String, String)>,
    params: Result<Query<TaskParams>, QueryRejection>,
) -> Result<Json<TaskPage>, ApiError> {
    let (job, Query(params)) = (parse_job(&job)?, params?);
    let stage = parse_stage(&stage)?;
    let query = TaskQuery {
        offset: params.offset.unwrap_or(0),
        limit: params.limit.unwrap_or(TASKS_DEFAULT).min(TASKS_MAX),
        sort: params.sort,
        state: params.state,
    };
    let (replay, state) = open(&app, job).await?;
    let replay = replay.lock().await;
    let found = replay.model().stages.get(&stage).ok_or(ApiError::NoSuchStage { job, stage: stage.0 })?;
    Ok(Json(view::tasks(found, &query, view::end_ms(replay.model(), state, app.clock.now()))))
}

/// The job's log as far as it is written, and its state as the list sees it.
pub async fn open(
    app: &App,
    job: JobId,
) -> Result<(std::sync::Arc<tokio::sync::Mutex<Replay>>, JobState), ApiError> {
    let replay = app.logs.open(job).await?.ok_or(ApiError::NoSuchJob { job })?;
    let in_log = replay.lock().await.model().state();
    if in_log.is_terminal() {
        return Ok((replay, in_log));
    }
    let state = app.index.job(job).await?.map_or(in_log, |entry| entry.state);
    Ok((replay, state))
}

pub fn parse_job(text: &str) -> Result<JobId, ApiError> {
    let advice = "A job id is a UUID, as `penstock jobs` prints it";
    text.parse().map_err(|_| ApiError::BadValue { what: "job id", value: text.to_owned(), advice })
}

fn parse_stage(text: &str) -> Result<StageId, ApiError> {
    let advice = "A stage is a number, as the job's page shows it";
    text.parse().map_err(|_| ApiError::BadValue { what: "stage", value: text.to_owned(), advice })
}
