//! `/api/v1`: jobs, one job, its events, its tasks, its timeline, its shuffles, and the cluster as jobs saw it. One file for each resource.

mod cluster;
mod error;
mod events;
mod job;
mod jobs;

use std::sync::Arc;

use axum::{Json, Router, http::header, routing::get};
use penstock_common::clock::Clock;
use tower_http::compression::CompressionLayer;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use error::ApiError;

use crate::{index::Index, logs::Logs, web};

/// What all handlers share.
#[derive(Debug, Clone)]
pub struct App {
    pub index: Arc<Index>,
    pub logs: Arc<Logs>,
    pub clock: Arc<dyn Clock>,
}

#[derive(OpenApi)]
#[openapi(info(title = "Penstock history server", description = "What jobs did, and why."))]
struct Api;

/// All that the server serves: REST, the page, health and metrics.
pub fn router(app: App) -> Router {
    let (api, document) = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(jobs::list))
        .routes(routes!(job::page))
        .routes(routes!(job::timeline))
        .routes(routes!(job::shuffle))
        .routes(routes!(job::tasks))
        .routes(routes!(events::events))
        .routes(routes!(cluster::cluster))
        .split_for_parts();
    let document = Arc::new(document);
    api.route("/api/v1/openapi.json", get(move || async move { Json(document.as_ref().clone()) }))
        .route("/api/{*rest}", get(error::no_such_endpoint))
        .with_state(app)
        .layer(axum::middleware::map_response(not_cached))
        .merge(penstock_common::telemetry::routes())
        .fallback(web::serve)
        .layer(CompressionLayer::new())
}

async fn not_cached(mut response: axum::response::Response) -> axum::response::Response {
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(header::HeaderValue::from_static("no-cache"));
    response
}
