//! `/executors`, `/info`, and what operators watch: `/healthz`, `/readyz`, `/metrics`.

use axum::{Json, extract::State, http::StatusCode};
use penstock_protocol::build;
use serde::Serialize;
use utoipa::ToSchema;

use super::{error::ApiError, job_view::name_of};
use crate::{
    api::{Api, LookupError},
    job::ExecutorStatus,
};

/// What clients may rely on; they ask for a capability, not for a version.
const CAPABILITIES: [&str; 10] = [
    "jobs.idempotency_key",
    "jobs.scope_key",
    "jobs.lease",
    "jobs.cancel_with_grace",
    "jobs.cancel_by_key",
    "jobs.batch_get",
    "jobs.logs",
    "jobs.validate",
    "jobs.long_poll",
    "results.flight",
];

#[derive(Debug, Serialize, ToSchema)]
pub struct ExecutorList {
    executors: Vec<ExecutorView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ExecutorView {
    executor: String,
    host: String,
    /// `ACTIVE`, `DRAINING` or `DISCONNECTED`.
    state: String,
    slots: u32,
    slots_used: u32,
    connected_at: String,
    seen_at: String,
    attempts_succeeded: u64,
    attempts_failed: u64,
    /// Cores in use at its last heartbeat; 0 in all four if it has not said yet.
    cpu_used: f64,
    memory_used_bytes: u64,
    memory_limit_bytes: u64,
    scratch_used_bytes: u64,
}

/// The executors that are connected, or may come back.
#[utoipa::path(get, path = "/api/v1/executors", tag = "cluster", responses((status = 200, body = ExecutorList)))]
pub async fn executors(State(api): State<Api>) -> Result<Json<ExecutorList>, ApiError> {
    let executors = api
        .effects()
        .inbox
        .ask(crate::coordinator::Coordinator::executors)
        .await
        .map_err(LookupError::from)?;
    Ok(Json(ExecutorList { executors: executors.iter().map(ExecutorView::from).collect() }))
}

impl From<&ExecutorStatus> for ExecutorView {
    fn from(executor: &ExecutorStatus) -> Self {
        Self {
            executor: executor.executor.to_string(),
            host: executor.host.clone(),
            state: name_of(&executor.state),
            slots: executor.slots,
            slots_used: executor.slots_used,
            connected_at: executor.connected_at.to_string(),
            seen_at: executor.seen_at.to_string(),
            attempts_succeeded: executor.attempts_succeeded,
            attempts_failed: executor.attempts_failed,
            cpu_used: executor.sample.cpu_used,
            memory_used_bytes: executor.sample.memory_used_bytes,
            memory_limit_bytes: executor.sample.memory_limit_bytes,
            scratch_used_bytes: executor.sample.scratch_used_bytes,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Info {
    version: &'static str,
    /// Executors must be of exactly this build.
    build: &'static str,
    capabilities: Vec<&'static str>,
}

/// What this coordinator is and can do.
#[utoipa::path(get, path = "/api/v1/info", tag = "cluster", responses((status = 200, body = Info)))]
pub async fn info() -> Json<Info> {
    Json(Info { version: env!("CARGO_PKG_VERSION"), build: build(), capabilities: CAPABILITIES.to_vec() })
}

/// Answers as long as the process lives.
#[utoipa::path(get, path = "/healthz", tag = "cluster", responses((status = 200, body = String)))]
pub async fn healthz() -> &'static str {
    "ok"
}

/// Answers once jobs are taken: the loop runs and the job store can be read.
#[utoipa::path(get, path = "/readyz", tag = "cluster", responses(
    (status = 200, body = String), (status = 503, body = super::error::ErrorBody),
))]
pub async fn readyz(State(api): State<Api>) -> Result<&'static str, ApiError> {
    let not_ready = |error: &dyn std::error::Error| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", error.to_string())
    };
    if let Some(reason) = api.effects().store.full() {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason.to_string()));
    }
    api.effects().inbox.ask(|_| ()).await.map_err(|error| not_ready(&error))?;
    api.effects().store.table("").await.map_err(|error| not_ready(&error))?;
    Ok("ready")
}

/// Prometheus metrics.
#[utoipa::path(get, path = "/metrics", tag = "cluster", responses((status = 200, body = String)))]
pub async fn metrics() -> String {
    penstock_common::telemetry::render_metrics()
}
