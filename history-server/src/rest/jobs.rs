//! `GET /api/v1/jobs`: live and finished jobs in one list.

use std::{collections::BTreeMap, time::Duration};

use axum::extract::rejection::QueryRejection;
use axum::{
    Json,
    extract::{Query, State},
};
use penstock_common::clock::Timestamp;
use penstock_protocol::{event::JobState, task::FailureClass};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use super::{ApiError, App};
use crate::{
    index::search::{self, Sort},
    view::{JobRow, row},
};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Params {
    /// Words that must all occur in name, id, owner, labels, script or failure.
    q: Option<String>,
    /// Part of the name.
    name: Option<String>,
    /// One or more states, separated by commas.
    state: Option<String>,
    owner: Option<String>,
    /// `cli`, `rest`, `flight` or `airflow`.
    client: Option<String>,
    /// Failure class, such as `USER_DATA`.
    class: Option<String>,
    /// `key=value`; several separated by commas.
    label: Option<String>,
    /// Submitted at or after: a time, a date, or an age such as `24h` or `7d`.
    since: Option<String>,
    /// Submitted before: likewise.
    until: Option<String>,
    /// `submitted` (the default), `duration`, `shuffled` or `name`.
    sort: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    pub jobs: Vec<JobRow>,
    /// Jobs that were found, on all pages.
    pub total: usize,
    /// How many were found in each state, whatever states were asked for.
    pub by_state: BTreeMap<String, usize>,
    /// Jobs in the store.
    pub indexed: usize,
    /// Directories that hold no readable log.
    pub unreadable: usize,
    pub refreshed_at: Option<String>,
    /// Why the store could not be read last time, if so; the list is then as old as `refreshed_at`.
    pub store_error: Option<String>,
    /// Where the logs are.
    pub store: String,
}

#[utoipa::path(get, path = "/api/v1/jobs", params(Params), responses((status = OK, body = JobList)))]
pub async fn list(
    State(app): State<App>,
    params: Result<Query<Params>, QueryRejection>,
) -> Result<Json<JobList>, ApiError> {
    let Query(params) = params?;
    let snapshot = app.index.snapshot().await;
    let now = app.clock.now();
    let query = params.query(now)?;
    let found = query.run(&snapshot.jobs, now);
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let page = found.jobs.iter().skip(params.offset.unwrap_or(0)).take(limit);
    let states = found.by_state.iter().map(|(state, count)| (format!("{state:?}").to_uppercase(), *count));
    Ok(Json(JobList {
        jobs: page.map(|(id, entry)| row(*id, entry, now)).collect(),
        total: found.jobs.len(),
        by_state: states.collect(),
        indexed: snapshot.jobs.len(),
        unreadable: snapshot.unreadable,
        refreshed_at: snapshot.refreshed_at.map(|at| at.to_string()),
        store_error: snapshot.error,
        store: app.index.location().to_owned(),
    }))
}

impl Params {
    fn query(&self, now: Timestamp) -> Result<search::Query, ApiError> {
        let states = self.state.iter().flat_map(|states| states.split(',')).filter(|state| !state.is_empty());
        Ok(search::Query {
            text: self.q.clone(),
            name: self.name.clone(),
            owner: self.owner.clone(),
            client: self.client.clone(),
            states: states.map(parse_state).collect::<Result<_, _>>()?,
            failure_class: self.class.as_deref().map(parse_class).transpose()?,
            labels: self
                .label
                .iter()
                .flat_map(|labels| labels.split(','))
                .map(parse_label)
                .collect::<Result<_, _>>()?,
            since: self.since.as_deref().map(|text| parse_time(text, now)).transpose()?,
            until: self.until.as_deref().map(|text| parse_time(text, now)).transpose()?,
            sort: self.sort.as_deref().map_or(Ok(Sort::default()), parse_sort)?,
        })
    }
}

fn parse_state(text: &str) -> Result<JobState, ApiError> {
    let advice = "Use QUEUED, PLANNING, RUNNING, SUCCEEDED, FAILED, CANCELLED or LOST";
    parse_word(text).ok_or_else(|| ApiError::BadValue { what: "state", value: text.to_owned(), advice })
}

fn parse_class(text: &str) -> Result<FailureClass, ApiError> {
    let advice = "Use USER_SQL, USER_DATA, RESOURCES, INFRASTRUCTURE, CANCELLED or INTERNAL";
    parse_word(text).ok_or_else(|| ApiError::BadValue {
        what: "failure class",
        value: text.to_owned(),
        advice,
    })
}

fn parse_word<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_uppercase())).ok()
}

fn parse_label(text: &str) -> Result<(String, String), ApiError> {
    let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| ApiError::BadValue {
        what: "label",
        value: text.to_owned(),
        advice: "Write key=value",
    })
}

fn parse_sort(text: &str) -> Result<Sort, ApiError> {
    match text {
        "submitted" => Ok(Sort::Submitted),
        "duration" => Ok(Sort::Duration),
        "shuffled" => Ok(Sort::Shuffled),
        "name" => Ok(Sort::Name),
        _ => Err(ApiError::BadValue {
            what: "order",
            value: text.to_owned(),
            advice: "Use submitted, duration, shuffled or name",
        }),
    }
}

/// A time, a date (its midnight in UTC), or an age.
fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, ApiError> {
    let time = text.parse::<jiff::Timestamp>().ok();
    let midnight = || {
        let date = text.parse::<jiff::civil::Date>().ok()?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let at = time.or_else(midnight).map(|at| Timestamp::from_millis(at.as_millisecond()));
    at.or_else(|| {
        let age = i64::try_from(parse_age(text)?.as_millis()).ok()?;
        Some(Timestamp::from_millis(now.as_millis().saturating_sub(age)))
    })
    .ok_or_else(|| ApiError::BadValue {
        what: "time",
        value: text.to_owned(),
        advice: "Write 2026-11-20T08:00:00Z, 2026-11-20 or an age such as 24h or 7d",
    })
}

fn parse_age(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let count: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    Some(Duration::from_secs(count.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_dates_and_ages_are_understood() {
        let now = Timestamp::from_millis(1_000_000_000_000);
        let parsed = |text| parse_time(text, now).ok().map(Timestamp::as_millis);
        assert_eq!(parsed("2001-09-09T01:46:40Z"), Some(1_000_000_000_000));
        assert_eq!(parsed("2001-09-09"), Some(999_993_600_000));
        assert_eq!(parsed("24h"), Some(1_000_000_000_000 - 86_400_000));
        assert_eq!(parsed("yesterday"), None);
        assert_eq!(parsed("99999999999999999999w"), None);
    }
}
