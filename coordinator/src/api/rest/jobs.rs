//! `/jobs`: submit, list, follow.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use penstock_protocol::{event::JobState, ids::JobId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    body::{Body, Keys, Params, parse_duration},
    error::{ApiError, ErrorBody},
    job_view::{JobView, name_of},
};
use crate::{api::Api, job::JobSpec, store::JobFilter};

/// Nobody waits longer in one call.
const WAIT_MAX: Duration = Duration::from_secs(60);
const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 1_000;
const BATCH_MAX: usize = 1_000;

#[derive(Debug, Deserialize, ToSchema)]
pub struct SubmitRequest {
    /// One or more statements, separated by `;`.
    pub sql: String,
    /// Recurring jobs keep their name.
    #[serde(default)]
    pub name: Option<String>,
    /// Values of `$name` placeholders.
    #[serde(default)]
    pub parameters: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Higher goes first within its queue.
    #[serde(default)]
    pub priority: Option<i32>,
    #[serde(default)]
    pub queue: Option<String>,
    /// The same key answers the same job while it is active and after it succeeded.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// At most one active job per scope.
    #[serde(default)]
    pub scope_key: Option<String>,
    /// The job is cancelled when nobody asks for it for so long; 0 means never.
    #[serde(default)]
    pub lease_seconds: Option<u64>,
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
    #[serde(default)]
    pub owner: Option<String>,
    /// `cli`, `rest`, `flight` or `airflow`.
    #[serde(default)]
    pub client: Option<String>,
    /// Where relative paths of the script start, such as `file:///home/me/`.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Airflow's `{dag_id, run_id, task_id, map_index, try, url}`.
    #[serde(default)]
    pub source: Option<serde_json::Value>,
}

impl Keys for SubmitRequest {
    const KEYS: &'static [&'static str] = &[
        "name",
        "sql",
        "parameters",
        "settings",
        "labels",
        "priority",
        "queue",
        "idempotency_key",
        "scope_key",
        "lease_seconds",
        "timeout_seconds",
        "owner",
        "client",
        "base_url",
        "source",
    ];
}

impl From<SubmitRequest> for JobSpec {
    fn from(request: SubmitRequest) -> Self {
        Self {
            name: request.name.filter(|name| !name.is_empty()).unwrap_or_else(|| "ad hoc".to_owned()),
            sql: request.sql,
            parameters: request.parameters,
            settings: request.settings,
            labels: request.labels,
            priority: request.priority.unwrap_or_default(),
            queue: request.queue.unwrap_or_default(),
            idempotency_key: request.idempotency_key,
            scope_key: request.scope_key,
            lease_seconds: request.lease_seconds,
            timeout_seconds: request.timeout_seconds,
            owner: request.owner,
            client: request.client.unwrap_or_else(|| "rest".to_owned()),
            base_url: request.base_url,
            source: request.source,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SubmitAnswer {
    job_id: String,
    #[serde(rename = "try")]
    try_number: u32,
    state: String,
    url: String,
    history_url: Option<String>,
    /// Whether the job existed already.
    reattached: bool,
    definition_hash: String,
}

/// Submits a job. It is in the job store when this answers.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", request_body = SubmitRequest, responses(
    (status = 201, body = SubmitAnswer, description = "a new job"),
    (status = 200, body = SubmitAnswer, description = "the job that has this idempotency key"),
    (status = 400, body = ErrorBody),
    (status = 409, body = ErrorBody, description = "the idempotency key belongs to a job with another definition"),
    (status = 429, body = ErrorBody),
))]
pub async fn submit(
    State(api): State<Api>,
    Body(request): Body<SubmitRequest>,
) -> Result<(StatusCode, Json<SubmitAnswer>), ApiError> {
    if request.sql.trim().is_empty() {
        return Err(ApiError::bad_request("`sql` is empty"));
    }
    let accepted = api.submit(request.into()).await?;
    let status = if accepted.reattached { StatusCode::OK } else { StatusCode::CREATED };
    let answer = SubmitAnswer {
        job_id: accepted.job.to_string(),
        try_number: accepted.try_number,
        state: name_of(&accepted.state),
        url: api.job_url(accepted.job),
        history_url: api.history_url(accepted.job),
        reattached: accepted.reattached,
        definition_hash: accepted.definition_hash,
    };
    Ok((status, Json(answer)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// States, separated by commas.
    #[serde(default)]
    state: Option<String>,
    /// Part of the name.
    #[serde(default)]
    name: Option<String>,
    /// At most 1000; default 100.
    #[serde(default)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[serde(default)]
    before: Option<String>,
}

impl Keys for ListParams {
    const KEYS: &'static [&'static str] = &["state", "name", "limit", "before"];
}

#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    /// Newest first.
    jobs: Vec<JobView>,
    /// Pass it as `before` for the next page; none on the last.
    next: Option<String>,
}

/// Lists jobs, the newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", params(ListParams), responses(
    (status = 200, body = JobList), (status = 400, body = ErrorBody),
))]
pub async fn list(
    State(api): State<Api>,
    Params(params): Params<ListParams>,
) -> Result<Json<JobList>, ApiError> {
    let limit = params.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let filter = JobFilter {
        states: parse_states(params.state.as_deref().unwrap_or_default())?,
        name: params.name,
        before: params.before.as_deref().map(parse_job).transpose()?,
        limit,
    };
    let records = api.effects().store.jobs(&filter).await.map_err(crate::api::LookupError::from)?;
    let next = records.last().filter(|_| records.len() >= limit as usize).map(|last| last.job().to_string());
    let newest = |record: &crate::store::JobRecord| {
        // The store knows milestones, the board every step.
        api.effects().board.get(record.job()).unwrap_or_else(|| record.status.clone())
    };
    let jobs = records.iter().map(|record| JobView::new(&api, &newest(record))).collect();
    Ok(Json(JobList { jobs, next }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WaitParams {
    /// Answer only when there is news, or after this time: `30s`. At most a minute.
    #[serde(default)]
    wait: Option<String>,
    /// The version that is known already; without it only the end is news.
    #[serde(default)]
    since: Option<u64>,
}

impl Keys for WaitParams {
    const KEYS: &'static [&'static str] = &["wait", "since"];
}

/// Shows a job; with `wait` as a long poll.
#[utoipa::path(get, path = "/api/v1/jobs/{job}", tag = "jobs", params(("job" = String, Path), WaitParams), responses(
    (status = 200, body = JobView), (status = 404, body = ErrorBody),
))]
pub async fn status(
    State(api): State<Api>,
    Path(job): Path<String>,
    Params(params): Params<WaitParams>,
) -> Result<Json<JobView>, ApiError> {
    let patience = params.wait.as_deref().map(parse_duration).transpose()?.unwrap_or_default();
    let status = api.wait(parse_job(&job)?, params.since, patience.min(WAIT_MAX)).await?;
    Ok(Json(JobView::new(&api, &status)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct BatchRequest {
    job_ids: Vec<String>,
}

impl Keys for BatchRequest {
    const KEYS: &'static [&'static str] = &["job_ids"];
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Batch {
    jobs: Vec<JobView>,
    /// Ids of which no job is known.
    missing: Vec<String>,
}

/// Shows several jobs at once.
#[utoipa::path(post, path = "/api/v1/jobs:batchGet", tag = "jobs", request_body = BatchRequest, responses(
    (status = 200, body = Batch), (status = 400, body = ErrorBody),
))]
pub async fn batch_get(
    State(api): State<Api>,
    Body(request): Body<BatchRequest>,
) -> Result<Json<Batch>, ApiError> {
    if request.job_ids.len() > BATCH_MAX {
        return Err(ApiError::bad_request(format!("at most {BATCH_MAX} jobs at once")));
    }
    let mut batch = Batch { jobs: Vec::new(), missing: Vec::new() };
    for id in request.job_ids {
        match api.wait(parse_job(&id)?, None, Duration::ZERO).await {
            Ok(status) => batch.jobs.push(JobView::new(&api, &status)),
            Err(crate::api::LookupError::UnknownJob { .. }) => batch.missing.push(id),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(batch))
}

/// An id that cannot be one names no job.
pub fn parse_job(text: &str) -> Result<JobId, ApiError> {
    text.parse().map_err(|error: penstock_protocol::ids::ParseIdError| {
        ApiError::new(StatusCode::NOT_FOUND, "unknown_job", format!("there is no job `{text}`: {error}"))
    })
}

fn parse_states(text: &str) -> Result<Vec<JobState>, ApiError> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let upper = serde_json::Value::String(name.to_uppercase());
            serde_json::from_value(upper).map_err(|_| {
                ApiError::bad_request(format!("there is no state `{name}`"))
                    .with_advice("QUEUED, PLANNING, RUNNING, SUCCEEDED, FAILED or CANCELLED")
            })
        })
        .collect()
}
