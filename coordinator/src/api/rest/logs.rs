//! `/jobs/{job}/logs`: the life of a job as lines to read, made from its event log.

use axum::{
    Json,
    extract::{Path, State},
};
use penstock_common::clock::Timestamp;
use penstock_protocol::event::{AttemptFinished, Event, Record};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    body::{Keys, Params},
    error::{ApiError, ErrorBody},
    job_view::name_of,
    jobs::parse_job,
};
use crate::api::Api;

const LINES_DEFAULT: usize = 1_000;
const LINES_MAX: usize = 10_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogParams {
    /// The `next` of the answer before.
    #[serde(default)]
    from: Option<u64>,
    /// At most 10000; default 1000.
    #[serde(default)]
    limit: Option<usize>,
}

impl Keys for LogParams {
    const KEYS: &'static [&'static str] = &["from", "limit"];
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Lines {
    lines: Vec<Line>,
    /// Pass it as `from` to go on.
    next: u64,
    /// Whether nothing more will come.
    eof: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Line {
    at: String,
    /// `info`, `warn` or `error`.
    level: &'static str,
    message: String,
}

/// What happened to a job, as lines.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/logs", tag = "jobs", params(("job" = String, Path), LogParams),
    responses((status = 200, body = Lines), (status = 404, body = ErrorBody)))]
pub async fn logs(
    State(api): State<Api>,
    Path(job): Path<String>,
    Params(params): Params<LogParams>,
) -> Result<Json<Lines>, ApiError> {
    let job = parse_job(&job)?;
    let status = api.status(job).await?;
    let (from, limit) = (params.from.unwrap_or(0), params.limit.unwrap_or(LINES_DEFAULT).clamp(1, LINES_MAX));
    let records = api.effects().event_log.read(job, from, limit).await.map_err(|error| {
        ApiError::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "event_log", error.to_string())
    })?;
    let ended = records.last().is_some_and(|record| matches!(record.event, Event::JobFinished(_)));
    let nothing_to_come = status.state.is_terminal() && from > 0 && records.is_empty();
    Ok(Json(Lines {
        next: records.last().map_or(from, |record| record.seq + 1),
        eof: ended || nothing_to_come,
        lines: records.iter().filter_map(line).collect(),
    }))
}

fn line(record: &Record) -> Option<Line> {
    let (level, message) = describe(&record.event)?;
    Some(Line { at: Timestamp::from_millis(record.at_ms).to_string(), level, message })
}

fn describe(event: &Event) -> Option<(&'static str, String)> {
    Some(match event {
        Event::JobSubmitted(job) => {
            ("info", format!("submitted as \"{}\" by {}, try {}", job.name, job.client, job.try_number))
        }
        Event::JobStarted {} => ("info", "started".to_owned()),
        Event::StatementPlanned(plan) => {
            let tasks: u32 = plan.stages.iter().map(|stage| stage.tasks).sum();
            let (kind, stages) = (&plan.kind, plan.stages.len());
            ("info", format!("statement {} planned: {kind}, {stages} stages, {tasks} tasks", plan.statement))
        }
        Event::StatementFinished { statement } => ("info", format!("statement {statement} finished")),
        Event::StageStarted { stage } => ("info", format!("stage {stage} started")),
        Event::StageFinished(stage) => ("info", format!("stage {} {}", stage.stage, stage.state)),
        Event::StageRunAgain(again) => {
            ("warn", format!("stage {} runs again because {}", again.stage, again.reason))
        }
        Event::ShuffleLost(lost) => {
            ("warn", format!("shuffle data of stage {} lost: {}", lost.stage, lost.reason))
        }
        Event::ShuffleGrew(grew) => {
            let partitions: u32 = grew.reasons.iter().map(|reason| reason.partitions).sum();
            ("info", format!("{partitions} partitions of stage {} go on in new epochs", grew.stage))
        }
        Event::ExecutorDraining { executor } => ("info", format!("executor {executor} takes no new work")),
        Event::AttemptStarted { .. }
        | Event::ExecutorSampled { .. }
        | Event::ShufflePlaced(_)
        | Event::ShuffleCommitted(_)
        | Event::ShufflesReleased(_) => return None,
        Event::AttemptFinished(attempt) => return failed_attempt(attempt),
        Event::ExchangeCommitted(exchange) => {
            let rows: u64 = exchange.partitions.iter().map(|partition| partition.totals.rows).sum();
            let bytes: u64 = exchange.partitions.iter().map(|partition| partition.totals.bytes).sum();
            ("info", format!("exchange of stage {} committed: {rows} rows, {bytes} bytes", exchange.stage))
        }
        Event::ExecutorJoined { executor, host, slots } => {
            ("info", format!("executor {executor} joined from {host} with {slots} slots"))
        }
        Event::ExecutorLost { executor, reason } => ("warn", format!("executor {executor} lost: {reason}")),
        Event::OutputsCommitted(outputs) => {
            let (files, rows, target) = (outputs.files, outputs.rows, &outputs.target);
            ("info", format!("published {files} files with {rows} rows in {target}"))
        }
        Event::Warning { message } => ("warn", message.clone()),
        Event::SamplesDropped { count } => ("warn", format!("{count} samples were dropped")),
        Event::JobFinished(end) => match &end.failure {
            Some(failure) => ("error", format!("{}: {}", name_of(&end.state), failure.message)),
            None => ("info", name_of(&end.state)),
        },
        Event::Unknown => return None,
    })
}

/// Attempts that went well are many and say nothing.
fn failed_attempt(attempt: &AttemptFinished) -> Option<(&'static str, String)> {
    if attempt.state == "succeeded" {
        return None;
    }
    let why = attempt.failure.as_ref().map(|failure| format!(": {}", failure.message)).unwrap_or_default();
    let AttemptFinished { stage, task, attempt: number, executor, state, .. } = attempt;
    Some(("warn", format!("attempt {number} of stage {stage} task {task} on {executor} {state}{why}")))
}
