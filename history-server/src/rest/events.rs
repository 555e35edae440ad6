//! `GET /api/v1/jobs/{job}/events`: the log as it is written, a page at a time.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use penstock_protocol::ids::JobId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, App,
    job::{open, parse_job},
};
use crate::{segment, source::Segment};

const LIMIT_DEFAULT: usize = 200;
const LIMIT_MAX: usize = 2000;
/// Segments that one request reads; a rare event type is then found over several requests.
const SEGMENTS_MAX: usize = 32;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventParams {
    /// Number of the first event.
    from: Option<u64>,
    limit: Option<usize>,
    /// Event types, separated by commas.
    #[serde(rename = "type")]
    types: Option<String>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub struct EventPage {
    /// Records as they stand in the log.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Value>,
    /// Where the next page begins.
    pub next: u64,
    /// Whether the log ends here; a live job's log goes on later.
    pub end: bool,
}

#[utoipa::path(get, path = "/api/v1/jobs/{job}/events", params(("job" = String, Path), EventParams),
    responses((status = OK, body = EventPage), (status = NOT_FOUND)))]
pub async fn events(
    State(app): State<App>,
    Path(job): Path<String>,
    params: Result<Query<EventParams>, QueryRejection>,
) -> Result<Json<EventPage>, ApiError> {
    let (job, Query(params)) = (parse_job(&job)?, params?);
    let from = params.from.unwrap_or(0);
    let segments = segments_from(&app, job, from).await?;
    let mut reader = Reader::new(from, &params);
    let is_last_read = segments.len() <= SEGMENTS_MAX;
    for segment in segments.into_iter().take(SEGMENTS_MAX) {
        let bytes = app.logs.source().segment(job, &segment).await?;
        reader.read(&bytes);
        if reader.is_full() {
            return Ok(Json(reader.page));
        }
    }
    reader.page.end = is_last_read;
    Ok(Json(reader.page))
}

/// The segments that hold `from` and what follows.
async fn segments_from(app: &App, job: JobId, from: u64) -> Result<Vec<Segment>, ApiError> {
    let (replay, _) = open(app, job).await?;
    let first = {
        let replay = replay.lock().await;
        let before = replay.starts().partition_point(|start| start.seq <= from);
        before.checked_sub(1).map_or(0, |position| replay.starts()[position].number)
    };
    let mut segments = app.logs.source().segments(job).await?;
    segments.retain(|segment| segment.number >= first);
    Ok(segments)
}

struct Reader {
    from: u64,
    limit: usize,
    types: Vec<String>,
    page: EventPage,
}

impl Reader {
    fn new(from: u64, params: &EventParams) -> Self {
        let types = params.types.iter().flat_map(|types| types.split(',')).map(str::to_owned).collect();
        let limit = params.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
        Self { from, limit, types, page: EventPage { next: from, ..EventPage::default() } }
    }

    fn is_full(&self) -> bool {
        self.page.events.len() >= self.limit
    }

    fn read(&mut self, bytes: &[u8]) {
        segment::for_each_line(bytes, |line| {
            if self.is_full() {
                return;
            }
            let Ok(event) = serde_json::from_slice::<Value>(line) else { return };
            let Some(seq) = event["seq"].as_u64().filter(|seq| *seq >= self.from.max(self.page.next)) else {
                return;
            };
            self.page.next = seq + 1;
            if self.types.is_empty() || self.types.iter().any(|wanted| event["type"] == wanted.as_str()) {
                self.page.events.push(event);
            }
        });
    }
}
