//! `/jobs/{job}/cancel` and `/jobs:cancelByKey`.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    body::{Body, Keys},
    error::{ApiError, ErrorBody},
    job_view::JobView,
    jobs::parse_job,
};
use crate::api::Api;

const DEFAULT_REASON: &str = "cancelled by a client";

#[derive(Debug, Deserialize, ToSchema)]
pub struct CancelRequest {
    #[serde(default)]
    reason: Option<String>,
    /// Cancel only if nobody submits the same idempotency key within this time.
    #[serde(default)]
    grace_seconds: Option<u64>,
}

impl Keys for CancelRequest {
    const KEYS: &'static [&'static str] = &["reason", "grace_seconds"];
}

/// Cancels a job: its tasks stop and everything it holds is freed. A job that ended is answered as it is.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/cancel", tag = "jobs", params(("job" = String, Path)),
    request_body = CancelRequest, responses((status = 200, body = JobView), (status = 404, body = ErrorBody)))]
pub async fn cancel(
    State(api): State<Api>,
    Path(job): Path<String>,
    Body(request): Body<CancelRequest>,
) -> Result<Json<JobView>, ApiError> {
    let reason = request.reason.unwrap_or_else(|| DEFAULT_REASON.to_owned());
    let grace = Duration::from_secs(request.grace_seconds.unwrap_or_default());
    let status = api.cancel(parse_job(&job)?, reason, grace).await?;
    Ok(Json(JobView::new(&api, &status)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct CancelByKeyRequest {
    idempotency_key: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    grace_seconds: Option<u64>,
}

impl Keys for CancelByKeyRequest {
    const KEYS: &'static [&'static str] = &["idempotency_key", "reason", "grace_seconds"];
}

/// Cancels the active job that has this idempotency key.
#[utoipa::path(post, path = "/api/v1/jobs:cancelByKey", tag = "jobs", request_body = CancelByKeyRequest, responses(
    (status = 200, body = JobView), (status = 404, body = ErrorBody),
))]
pub async fn cancel_by_key(
    State(api): State<Api>,
    Body(request): Body<CancelByKeyRequest>,
) -> Result<Json<JobView>, ApiError> {
    let reason = request.reason.unwrap_or_else(|| DEFAULT_REASON.to_owned());
    let grace = Duration::from_secs(request.grace_seconds.unwrap_or_default());
    let status = api.cancel_by_key(request.idempotency_key, reason, grace).await?;
    Ok(Json(JobView::new(&api, &status)))
}
