//! The admin view over HTTP.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use penstock_common::telemetry;
use serde::Serialize;

use super::{members::Member, service::Service};

pub(super) fn routes(service: Arc<Service>) -> Router {
    Router::new().route("/api/v1/workers", get(workers)).with_state(service).merge(telemetry::routes())
}

#[derive(Serialize)]
struct Workers {
    workers: Vec<Worker>,
}

#[derive(Serialize)]
struct Worker {
    worker: String,
    incarnation: u64,
    control: String,
    data: String,
    alive: bool,
    draining: bool,
    /// RFC 3339, UTC.
    last_heartbeat: String,
    jobs: usize,
    locations: u64,
    memory_used_bytes: u64,
    memory_limit_bytes: u64,
    disk_used_bytes: u64,
    disk_free_bytes: u64,
}

async fn workers(State(service): State<Arc<Service>>) -> Json<Workers> {
    Json(Workers {
        workers: service.workers().into_iter().map(|(member, alive)| worker(member, alive)).collect(),
    })
}

fn worker(member: Member, alive: bool) -> Worker {
    Worker {
        worker: member.address.worker.to_string(),
        incarnation: member.address.incarnation.0,
        control: member.address.control.clone(),
        data: member.address.data.clone(),
        alive,
        draining: member.draining,
        last_heartbeat: member.reported_at.to_string(),
        jobs: member.jobs,
        locations: member.usage.locations,
        memory_used_bytes: member.usage.memory_used_bytes,
        memory_limit_bytes: member.usage.memory_limit_bytes,
        disk_used_bytes: member.usage.disk_used_bytes,
        disk_free_bytes: member.usage.disk_free_bytes,
    }
}
