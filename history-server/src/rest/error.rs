//! What a client gets instead of an answer: `{"error": {"code", "message", "advice"}}`.

use axum::{
    Json,
    extract::rejection::{PathRejection, QueryRejection},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use penstock_protocol::ids::JobId;
use serde_json::json;

use crate::{index::describe, source::SourceError};

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("there is no job {job}")]
    NoSuchJob { job: JobId },
    #[error("job {job} has no stage {stage}")]
    NoSuchStage { job: JobId, stage: u32 },
    #[error("`{path}` is not part of this API")]
    NoSuchEndpoint { path: String },
    #[error("`{value}` is not a {what}")]
    BadValue { what: &'static str, value: String, advice: &'static str },
    #[error("{reason}")]
    BadRequest { reason: String },
    #[error("the event log store cannot be read")]
    Store(#[from] SourceError),
}

impl ApiError {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchJob { .. } | Self::NoSuchStage { .. } | Self::NoSuchEndpoint { .. } => {
                (StatusCode::NOT_FOUND, "NOT_FOUND")
            }
            Self::BadValue { .. } | Self::BadRequest { .. } => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
            Self::Store(_) => (StatusCode::BAD_GATEWAY, "STORE"),
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NoSuchJob { .. } => {
                Some("A job appears when its coordinator writes to the event log that this server reads")
            }
            Self::BadValue { advice, .. } => Some(advice),
            Self::NoSuchEndpoint { .. } => Some("GET /api/v1/openapi.json lists what there is"),
            Self::Store(_) => Some("Check history-server.event_log and that the store can be reached"),
            Self::NoSuchStage { .. } | Self::BadRequest { .. } => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status();
        if status.is_server_error() {
            tracing::warn!(error = describe(&self), "request failed");
        }
        let body = json!({"error": {"code": code, "message": describe(&self), "advice": self.advice()}});
        (status, Json(body)).into_response()
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::BadRequest { reason: rejection.body_text() }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::BadRequest { reason: rejection.body_text() }
    }
}

pub async fn no_such_endpoint(uri: Uri) -> ApiError {
    ApiError::NoSuchEndpoint { path: uri.path().to_owned() }
}
