//! `/jobs/{job}/results/{statement}`: rows as a stream.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use penstock_protocol::ids::StatementIndex;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    body::{Keys, Params},
    error::{ApiError, ErrorBody},
    jobs::parse_job,
    rows_format::{Format, encoded},
};
use crate::api::Api;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ResultParams {
    /// `arrow` (an IPC stream, the default), `json` or `csv`.
    #[serde(default)]
    format: Option<String>,
    /// Rows at most.
    #[serde(default)]
    limit: Option<usize>,
}

impl Keys for ResultParams {
    const KEYS: &'static [&'static str] = &["format", "limit"];
}

/// The rows of a finished statement. A stream that ends before its proper end has failed.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/results/{statement}", tag = "jobs",
    params(("job" = String, Path), ("statement" = u32, Path), ResultParams),
    responses(
        (status = 200, content_type = "application/vnd.apache.arrow.stream", body = Vec<u8>),
        (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "not finished, or without rows"),
        (status = 410, body = ErrorBody, description = "expired"),
    ))]
pub async fn fetch(
    State(api): State<Api>,
    Path((job, statement)): Path<(String, String)>,
    Params(params): Params<ResultParams>,
) -> Result<Response, ApiError> {
    let format = Format::parse(params.format.as_deref().unwrap_or("arrow"))
        .ok_or_else(|| ApiError::bad_request("`format` is arrow, json or csv"))?;
    let job = parse_job(&job)?;
    let index: StatementIndex = statement.parse().map_err(|_| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_statement",
            format!("there is no statement `{statement}`"),
        )
    })?;
    let rows = api.rows(job, index).await?;
    if let Some(column) = format.cannot_hold(&rows.schema) {
        let message = format!("column `{column}` is nested, which {} cannot hold", format.name());
        return Err(ApiError::bad_request(message).with_advice("fetch it as json or arrow"));
    }
    let body = Body::from_stream(encoded(rows, format, params.limit));
    Ok(([(CONTENT_TYPE, format.content_type())], body).into_response())
}
