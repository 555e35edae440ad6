//! REST with JSON: one file per resource, the OpenAPI document made from the handlers.

mod body;
mod cancel;
mod cluster;
mod error;
mod job_view;
mod jobs;
mod logs;
mod results;
mod rows_format;
mod sql;
mod stages;
mod tables;

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{Method, StatusCode, Uri},
    routing::get,
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::error::ApiError;
use super::Api;

#[derive(OpenApi)]
#[openapi(info(
    title = "Penstock coordinator",
    description = "Submit SQL jobs, follow them and fetch their results. Errors have the same shape everywhere."
))]
struct Document;

/// Everything that the coordinator serves over HTTP.
pub fn router(api: Api) -> Router {
    let (router, document) = documented().split_for_parts();
    let document = serde_json::to_value(document).unwrap_or_default();
    router
        .route("/api/v1/openapi.json", get(|| async move { Json(document) }))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(api.request_bytes_max()))
        .with_state(api)
}

/// The OpenAPI document, for generated documentation.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented().into_openapi()
}

fn documented() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(jobs::submit, jobs::list))
        .routes(routes!(jobs::status))
        .routes(routes!(jobs::batch_get))
        .routes(routes!(cancel::cancel))
        .routes(routes!(cancel::cancel_by_key))
        .routes(routes!(sql::validate))
        .routes(routes!(sql::explain))
        .routes(routes!(stages::stages))
        .routes(routes!(stages::tasks))
        .routes(routes!(logs::logs))
        .routes(routes!(results::fetch))
        .routes(routes!(tables::list))
        .routes(routes!(tables::show))
        .routes(routes!(cluster::executors))
        .routes(routes!(cluster::info))
        .routes(routes!(cluster::healthz))
        .routes(routes!(cluster::readyz))
        .routes(routes!(cluster::metrics))
}

async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_such_path", format!("there is nothing at `{}`", uri.path()))
        .with_advice("see /api/v1/openapi.json")
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("`{}` does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", message)
}
