//! The one shape of every error: what went wrong, whose fault it is, what to do next.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use penstock_protocol::task::FailureClass;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{LookupError, RowsError, SubmitFailure, submit::CancelFailure},
    effect::SubmitError,
    job::JobFailure,
};

#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    detail: Box<ErrorDetail>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    error: Box<ErrorDetail>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// For programs; stable.
    code: &'static str,
    /// `USER_SQL`, `USER_DATA`, `RESOURCES`, `INFRASTRUCTURE`, `CANCELLED` or `INTERNAL`.
    class: &'static str,
    /// For people.
    message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    /// In the script, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    /// The job that is in the way, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let class = if status.is_server_error() { "INFRASTRUCTURE" } else { "USER_SQL" };
        let message = message.into();
        let detail =
            ErrorDetail { code, class, message, advice: None, line: None, column: None, job_id: None };
        Self { status, detail: Box::new(detail) }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub fn with_advice(mut self, advice: impl Into<String>) -> Self {
        self.detail.advice = Some(advice.into());
        self
    }

    pub fn with_advice_if(mut self, advice: Option<String>) -> Self {
        self.detail.advice = advice.or(self.detail.advice);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(code = self.detail.code, message = %self.detail.message, "a call failed");
        }
        (self.status, Json(ErrorBody { error: self.detail })).into_response()
    }
}

/// The name of a class as it is written everywhere.
pub fn class_name(class: FailureClass) -> &'static str {
    match class {
        FailureClass::UserSql => "USER_SQL",
        FailureClass::UserData => "USER_DATA",
        FailureClass::Resources => "RESOURCES",
        FailureClass::Infrastructure => "INFRASTRUCTURE",
        FailureClass::Cancelled => "CANCELLED",
        FailureClass::Internal => "INTERNAL",
    }
}

/// The message of an error with all of its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    message
}

/// A script that cannot be planned.
impl From<JobFailure> for ApiError {
    fn from(failure: JobFailure) -> Self {
        let (status, code) = match failure.failure.class {
            FailureClass::UserSql => (StatusCode::BAD_REQUEST, "invalid_sql"),
            FailureClass::UserData => (StatusCode::BAD_REQUEST, "invalid_data"),
            FailureClass::Resources => (StatusCode::SERVICE_UNAVAILABLE, "no_room"),
            FailureClass::Infrastructure => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            FailureClass::Cancelled => (StatusCode::CONFLICT, "cancelled"),
            FailureClass::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let mut error =
            Self::new(status, code, failure.failure.message).with_advice_if(failure.failure.advice);
        error.detail.class = class_name(failure.failure.class);
        (error.detail.line, error.detail.column) = (failure.place.line, failure.place.column);
        error
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        let (status, code) = match &error {
            LookupError::UnknownJob { .. } => (StatusCode::NOT_FOUND, "unknown_job"),
            LookupError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "store"),
            LookupError::Stopped(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self::new(status, code, with_causes(&error))
    }
}

impl From<SubmitFailure> for ApiError {
    fn from(error: SubmitFailure) -> Self {
        let message = with_causes(&error);
        match error {
            SubmitFailure::Refused(refusal) => refused(refusal),
            SubmitFailure::Full { .. } => {
                let mut error = Self::new(StatusCode::INSUFFICIENT_STORAGE, "no_room", message).with_advice(
                    "free space on the disk of the coordinator's `state_dir`: it goes on by itself; then submit again",
                );
                error.detail.class = "RESOURCES";
                error
            }
            SubmitFailure::Store(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store", message),
            SubmitFailure::Stopped(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", message),
        }
    }
}

fn refused(refusal: SubmitError) -> ApiError {
    let message = refusal.to_string();
    match refusal {
        SubmitError::Conflict { job, differs, .. } => {
            let message = match differs.is_empty() {
                true => message,
                false => format!("{message}: {} differ", differs.join(", ")),
            };
            let mut error = ApiError::new(StatusCode::CONFLICT, "conflict", message)
                .with_advice("use another idempotency key, or wait for the job that has this one");
            error.detail.job_id = Some(job.to_string());
            error
        }
        SubmitError::TooManyJobs { .. } => {
            let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_jobs", message)
                .with_advice("submit again when jobs have ended");
            error.detail.class = "RESOURCES";
            error
        }
        SubmitError::UnknownQueue { known, .. } => {
            ApiError::bad_request(message).with_advice(format!("known queues: {}", known.join(", ")))
        }
    }
}

impl From<CancelFailure> for ApiError {
    fn from(error: CancelFailure) -> Self {
        match error {
            CancelFailure::UnknownKey { .. } => {
                Self::new(StatusCode::NOT_FOUND, "unknown_key", error.to_string())
            }
            CancelFailure::Lookup(error) => error.into(),
        }
    }
}

impl From<RowsError> for ApiError {
    fn from(error: RowsError) -> Self {
        let message = with_causes(&error);
        match error {
            RowsError::Lookup(error) => error.into(),
            RowsError::UnknownStatement { .. } => {
                Self::new(StatusCode::NOT_FOUND, "unknown_statement", message)
            }
            RowsError::NotFinished { .. } => Self::new(StatusCode::CONFLICT, "not_finished", message)
                .with_advice("wait with GET /api/v1/jobs/{id}?wait=30s"),
            RowsError::NoRows { .. } => Self::new(StatusCode::CONFLICT, "no_rows", message),
            RowsError::Gone { why, .. } => {
                Self::new(StatusCode::GONE, "expired", message).with_advice(why.advice())
            }
        }
    }
}
