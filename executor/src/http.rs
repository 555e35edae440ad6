//! `/healthz`: the process is up. `/readyz`: it is connected and takes work. `/metrics`: Prometheus text.

use axum::{Router, extract::State, http::StatusCode, routing::get};
use penstock_common::telemetry;
use tokio::sync::watch;

use crate::server::Status;

pub fn router(status: watch::Receiver<Status>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(|| async { telemetry::prometheus().render() }))
        .with_state(status)
}

async fn ready(State(status): State<watch::Receiver<Status>>) -> (StatusCode, &'static str) {
    match *status.borrow() {
        Status::Connected => (StatusCode::OK, "connected\n"),
        Status::Connecting => (StatusCode::SERVICE_UNAVAILABLE, "no stream to the coordinator\n"),
        Status::Refused => (StatusCode::SERVICE_UNAVAILABLE, "the coordinator refused this executor\n"),
        Status::Draining | Status::Left => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}
