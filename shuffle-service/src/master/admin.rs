//! The admin view and its orders, over HTTP.
//!
//! An order changes the soft state of this master. Workers carry it to the others; a setting has to be told to each. Not
//! here: what an order does.

pub(super) mod views;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use penstock_common::{bytes::ByteSize, telemetry};
use penstock_protocol::{
    ids::{JobId, WorkerId},
    pb,
    shuffle::WorkerAddress,
    status::{ErrorCode, RpcError},
};
use serde::Deserialize;
use serde_json::{Value, json};

use self::views::{JobView, UserView, WorkerView};
use super::{asking::Asking, locations, quotas::Limit, service::Service};
use crate::{interruption::Interruption, problem::Problem};

/// How long a worker is excluded if nobody says how long.
const EXCLUSION: Duration = Duration::from_secs(600);
/// Locations of one job that one answer shows.
const LOCATIONS_MAX: usize = 10_000;
/// Every worker carries every quota: names of users cannot be as long as somebody likes.
const USER_BYTES_MAX: usize = 256;

struct Admin {
    service: Arc<Service>,
    asking: Asking,
}

pub(super) fn routes(service: Arc<Service>, asking: Asking) -> Router {
    Router::new()
        .route("/api/v1/workers", get(workers))
        .route("/api/v1/workers/{worker}/exclude", post(exclude))
        .route("/api/v1/workers/{worker}/include", post(include))
        .route("/api/v1/workers/{worker}/decommission", post(decommission))
        .route("/api/v1/workers/{worker}/recommission", post(recommission))
        .route("/api/v1/workers/{worker}/interruption", post(interrupt).delete(no_interruption))
        .route("/api/v1/workers/{worker}/settings", get(worker_settings).post(change_worker_settings))
        .route("/api/v1/jobs", get(jobs))
        .route("/api/v1/jobs/{job}/partitions", get(partitions))
        .route("/api/v1/quotas", get(quotas).post(set_quota))
        .route("/api/v1/settings", get(settings).post(change_settings))
        .with_state(Arc::new(Admin { service, asking }))
        .merge(telemetry::routes())
}

type Answer = Result<Json<Value>, Problem>;

async fn workers(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let now = admin.service.now();
    let workers = admin.service.state().workers(now);
    let workers: Vec<_> = workers.into_iter().map(|standing| WorkerView::of(standing, now)).collect();
    Json(json!({ "workers": workers }))
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Exclude {
    seconds: u64,
    reason: String,
}

impl Default for Exclude {
    fn default() -> Self {
        Self { seconds: EXCLUSION.as_secs(), reason: String::new() }
    }
}

async fn exclude(
    State(admin): State<Arc<Admin>>,
    Path(worker): Path<String>,
    order: Option<Json<Exclude>>,
) -> Answer {
    let Json(order) = order.unwrap_or_default();
    if order.seconds == 0 {
        return Err(Problem::invalid("`seconds` must be at least 1"));
    }
    let (now, lasts) = (admin.service.now(), Duration::from_secs(order.seconds));
    tracing::info!(worker, seconds = order.seconds, reason = order.reason, "excluding a worker");
    let known = admin.service.state().exclude(now, &worker_id(&worker), lasts, order.reason);
    known_worker(&admin, &worker, known)
}

async fn include(State(admin): State<Arc<Admin>>, Path(worker): Path<String>) -> Answer {
    let now = admin.service.now();
    let id = worker_id(&worker);
    let known = {
        let mut state = admin.service.state();
        state.include(now, &id) || state.knows(&id)
    };
    known_worker(&admin, &worker, known)
}

async fn decommission(State(admin): State<Arc<Admin>>, Path(worker): Path<String>) -> Answer {
    tracing::info!(worker, "decommissioning a worker");
    let known = admin.service.state().drain(admin.service.now(), &worker_id(&worker), true);
    known_worker(&admin, &worker, known)
}

async fn recommission(State(admin): State<Arc<Admin>>, Path(worker): Path<String>) -> Answer {
    tracing::info!(worker, "recommissioning a worker");
    let known = admin.service.state().drain(admin.service.now(), &worker_id(&worker), false);
    known_worker(&admin, &worker, known)
}

async fn interrupt(
    State(admin): State<Arc<Admin>>,
    Path(worker): Path<String>,
    Json(notice): Json<Interruption>,
) -> Answer {
    tell_of_interruption(&admin, &worker, Some(notice.seconds)).await
}

async fn no_interruption(State(admin): State<Arc<Admin>>, Path(worker): Path<String>) -> Answer {
    tell_of_interruption(&admin, &worker, None).await
}

/// The worker tells all masters.
async fn tell_of_interruption(admin: &Admin, worker: &str, seconds: Option<u64>) -> Answer {
    let address = address_of(admin, worker)?;
    tracing::info!(worker, seconds, "telling a worker whether its machine goes");
    let leaves_at = admin.asking.interrupt(&address, seconds).await;
    let leaves_at = leaves_at.map_err(|error| not_taken(worker, error))?;
    admin.service.state().leaves(&address, leaves_at);
    known_worker(admin, worker, true)
}

async fn worker_settings(State(admin): State<Arc<Admin>>, Path(worker): Path<String>) -> Answer {
    let answer = ask_for_settings(&admin, &worker, String::new()).await?;
    let settings: Value = serde_json::from_str(&answer.settings)
        .map_err(|_| Problem::unavailable(format!("what worker `{worker}` says cannot be read")))?;
    Ok(Json(settings))
}

/// As of the master's own: all of them or none.
async fn change_worker_settings(
    State(admin): State<Arc<Admin>>,
    Path(worker): Path<String>,
    Json(changes): Json<Value>,
) -> Answer {
    tracing::info!(worker, %changes, "changing settings of a worker");
    let answer = ask_for_settings(&admin, &worker, changes.to_string()).await?;
    Ok(Json(json!({ "worker": worker, "changed": answer.changed })))
}

async fn ask_for_settings(
    admin: &Admin,
    worker: &str,
    changes: String,
) -> Result<pb::SettingsAnswer, Problem> {
    let address = address_of(admin, worker)?;
    admin.asking.settings(&address, changes).await.map_err(|error| not_taken(worker, error))
}

fn address_of(admin: &Admin, worker: &str) -> Result<Arc<WorkerAddress>, Problem> {
    let standing = admin.service.state().worker(admin.service.now(), &worker_id(worker));
    let standing = standing.ok_or_else(|| unknown_worker(worker))?;
    Ok(standing.member.report.address)
}

fn not_taken(worker: &str, error: RpcError) -> Problem {
    match error.code {
        ErrorCode::InvalidMessage => Problem::invalid(error.message),
        _ => Problem::unavailable(format!("worker `{worker}` did not take the call: {error}")),
    }
}

fn unknown_worker(worker: &str) -> Problem {
    Problem::not_found(format!("no shuffle worker `{worker}` reports to this master"))
}

/// The worker as it stands now.
fn known_worker(admin: &Admin, worker: &str, known: bool) -> Answer {
    let now = admin.service.now();
    let standing = known.then(|| admin.service.state().worker(now, &worker_id(worker))).flatten();
    Ok(Json(json!(WorkerView::of(standing.ok_or_else(|| unknown_worker(worker))?, now))))
}

fn worker_id(worker: &str) -> WorkerId {
    WorkerId::from(worker)
}

async fn jobs(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let state = admin.service.state();
    let jobs: Vec<_> = state
        .ledger()
        .jobs()
        .map(|(job, account)| JobView {
            job: job.to_string(),
            user: account.user.clone(),
            bytes: account.amount.bytes,
            locations: account.amount.locations,
            over_quota: state.ledger().is_over(state.quotas().limits(), *job),
            workers: state.holders(admin.service.now(), *job).len(),
        })
        .collect();
    Json(json!({ "jobs": jobs }))
}

async fn partitions(State(admin): State<Arc<Admin>>, Path(job): Path<String>) -> Answer {
    let job: JobId = job.parse().map_err(|_| Problem::invalid(format!("`{job}` is not a job id")))?;
    let holders = admin.service.state().holders(admin.service.now(), job);
    if holders.is_empty() {
        return Err(Problem::not_found(format!("no shuffle worker holds anything of job {job}")));
    }
    let listed = locations::of(&admin.asking, job, holders, LOCATIONS_MAX).await;
    if listed.locations.is_empty() && !listed.silent.is_empty() {
        let silent = listed.silent.join(", ");
        return Err(Problem::unavailable(format!("these workers hold it and do not answer: {silent}")));
    }
    Ok(Json(json!(listed)))
}

async fn quotas(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let state = admin.service.state();
    let limits = state.quotas().limits();
    let held: Vec<_> = state.ledger().users().map(|(user, amount)| (user.clone(), *amount)).collect();
    let own = limits.users.keys().filter(|user| held.iter().all(|(held, _)| held != *user));
    let all = held.iter().cloned().chain(own.map(|user| (user.clone(), Default::default())));
    let users: Vec<_> = all.map(|(user, amount)| UserView::of(user, amount, state.quotas())).collect();
    Json(json!({ "job": limits.job, "user": limits.user, "users": users }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetQuota {
    user: String,
    /// Both absent: back to what is configured.
    bytes: Option<ByteSize>,
    locations: Option<u64>,
}

/// What is not named stays as it is.
async fn set_quota(State(admin): State<Arc<Admin>>, Json(order): Json<SetQuota>) -> Answer {
    if order.user.len() > USER_BYTES_MAX {
        return Err(Problem::invalid(format!("`user` is longer than {USER_BYTES_MAX} bytes")));
    }
    let SetQuota { user, bytes, locations } = order;
    tracing::info!(user, ?bytes, ?locations, "setting the quota of a user");
    {
        let now = admin.service.now();
        let mut state = admin.service.state();
        let present = state.quotas().limits().of(&user);
        let limit = Limit {
            bytes: bytes.unwrap_or(present.bytes),
            locations: locations.unwrap_or(present.locations),
        };
        let is_set = bytes.is_some() || locations.is_some();
        state.set_quota(now, user, is_set.then_some(limit));
    }
    Ok(quotas(State(admin)).await)
}

async fn settings(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(json!(&*admin.service.config()))
}

/// Takes those that are named; what cannot change at run time is refused by name, and then nothing changes.
async fn change_settings(State(admin): State<Arc<Admin>>, Json(wanted): Json<Value>) -> Answer {
    let config = admin.service.config().clone();
    let config = penstock_common::config::with_changes(&config, &wanted)
        .map_err(|error| Problem::invalid(error.to_string()))?;
    let refused = admin.service.refused_settings(&config);
    if !refused.is_empty() {
        let refused = refused.join(", ");
        return Err(Problem::invalid(format!("only a restart changes these settings: {refused}")));
    }
    let reloaded = admin.service.reload(config).map_err(|error| Problem::invalid(error.to_string()))?;
    Ok(Json(json!({ "changed": reloaded.changed })))
}
