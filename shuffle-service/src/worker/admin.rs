//! A worker's admin view and its orders, over HTTP.
//!
//! An order is told to all masters with the next report, which is made at once, and they remember it. So it may be given
//! here or at a master.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use penstock_common::{clock::Clock, telemetry};
use penstock_protocol::ids::JobId;
use serde_json::{Value, json};

use super::{store::Store, usage};
use crate::{disk_view::DiskView, interruption::Interruption, problem::Problem};

/// Locations of one job that one answer shows.
const LOCATIONS_MAX: usize = 10_000;

struct Admin {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
}

pub(super) fn routes(store: Arc<Store>, clock: Arc<dyn Clock>) -> Router {
    Router::new()
        .route("/api/v1/worker", get(worker))
        .route("/api/v1/decommission", post(decommission))
        .route("/api/v1/recommission", post(recommission))
        .route("/api/v1/interruption", post(interrupt).delete(no_interruption))
        .route("/api/v1/settings", get(settings).post(change_settings))
        .route("/api/v1/jobs", get(jobs))
        .route("/api/v1/jobs/{job}/partitions", get(partitions))
        .with_state(Arc::new(Admin { store, clock }))
        .merge(telemetry::routes())
}

async fn worker(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let (jobs, _, usage) = usage::of(&admin.store);
    let standing = admin.store.standing.get();
    Json(json!({
        "worker": admin.store.worker.to_string(),
        "incarnation": admin.store.incarnation.0,
        "draining": standing.takes_nothing(),
        "drained": standing.takes_nothing() && jobs.is_empty(),
        "leaves_at": standing.leaves_at.map(|at| at.to_string()),
        "jobs": jobs.len(),
        "locations": usage.locations,
        "open_locations": usage.open_locations,
        "memory_used_bytes": usage.memory_used_bytes,
        "memory_limit_bytes": usage.memory_limit_bytes,
        "memory_state": admin.store.budget.state().to_string(),
        "paused": usage.paused,
        "disk_used_bytes": usage.disk_used_bytes,
        "disk_free_bytes": usage.disk_free_bytes,
        "disks": usage.disks.iter().map(DiskView::of).collect::<Vec<_>>(),
        "flush_us_per_mib": usage.flush_us_per_mib,
        "fetch_us_per_mib": usage.fetch_us_per_mib,
    }))
}

async fn decommission(state: State<Arc<Admin>>) -> Json<Value> {
    tracing::info!(worker = %state.store.worker, "draining, as this worker was asked to");
    state.store.standing.order(state.clock.now(), true);
    worker(state).await
}

async fn recommission(state: State<Arc<Admin>>) -> Json<Value> {
    tracing::info!(worker = %state.store.worker, "serving again, as this worker was asked to");
    state.store.standing.order(state.clock.now(), false);
    worker(state).await
}

async fn interrupt(state: State<Arc<Admin>>, Json(notice): Json<Interruption>) -> Json<Value> {
    state.store.standing.interrupt(state.clock.now(), Some(notice.seconds));
    worker(state).await
}

async fn no_interruption(state: State<Arc<Admin>>) -> Json<Value> {
    state.store.standing.interrupt(state.clock.now(), None);
    worker(state).await
}

async fn settings(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(json!(admin.store.settings.get().shown()))
}

/// Takes those that are named; what cannot change at run time is refused by name, and then nothing changes.
async fn change_settings(
    State(admin): State<Arc<Admin>>,
    Json(changes): Json<Value>,
) -> Result<Json<Value>, Problem> {
    let changed = admin.store.change_settings(&changes);
    let changed = changed.map_err(|error| Problem::invalid(error.to_string()))?;
    Ok(Json(json!({ "changed": changed })))
}

async fn jobs(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let (_, jobs, _) = usage::of(&admin.store);
    let jobs: Vec<_> = jobs
        .into_iter()
        .filter_map(|usage| {
            let job = penstock_protocol::decode::job_id(&usage.job, "job").ok()?;
            let over_quota = admin.store.jobs_known.is_over_quota(job);
            Some(json!({
                "job": job.to_string(), "user": usage.user, "bytes": usage.bytes,
                "locations": usage.locations, "over_quota": over_quota,
            }))
        })
        .collect();
    Json(json!({ "jobs": jobs }))
}

async fn partitions(
    State(admin): State<Arc<Admin>>,
    Path(job): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job: JobId = job.parse().map_err(|_| Problem::invalid(format!("`{job}` is not a job id")))?;
    let listed = usage::list(&admin.store, job, LOCATIONS_MAX);
    if listed.total == 0 {
        return Err(Problem::not_found(format!("this worker holds nothing of job {job}")));
    }
    let locations: Vec<_> = listed
        .locations
        .into_iter()
        .map(|location| {
            let shuffle = location.shuffle.unwrap_or_default();
            json!({
                "exchange": shuffle.exchange, "run": shuffle.run, "partition": location.partition,
                "epoch": location.epoch, "phase": location.phase, "bytes": location.bytes,
                "disk_bytes": location.disk_bytes,
            })
        })
        .collect();
    Ok(Json(json!({ "total": listed.total, "locations": locations })))
}
