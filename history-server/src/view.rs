//! What clients are shown: models as JSON. Times are RFC 3339 in UTC, durations milliseconds, sizes bytes.

mod cluster;
mod distribution;
mod exchange;
mod job;
mod notes;
mod row;
mod shuffle;
mod stage;
mod tasks;
mod timeline;

use penstock_common::clock::Timestamp;
use penstock_protocol::task::{Failure, FailureClass};
use serde::Serialize;
use utoipa::ToSchema;

pub use cluster::{Cluster, Sightings};
pub use distribution::Distribution;
pub use exchange::ExchangeView;
pub use job::{Health, Job, end_ms, page};
pub use notes::Note;
pub use row::{JobRow, Progress, Totals, row, summary_of};
pub use shuffle::{JobShuffle, job_shuffle};
pub use stage::{Edge, OperatorView, StageView};
pub use tasks::{AttemptView, TaskPage, TaskQuery, tasks};
pub use timeline::{Timeline, timeline};

/// One failure, one line: what went wrong and what to do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FailureView {
    /// `USER_SQL`, `USER_DATA`, `RESOURCES`, `INFRASTRUCTURE`, `CANCELLED` or `INTERNAL`.
    pub class: String,
    pub message: String,
    pub advice: Option<String>,
    /// Whether running the same again may end differently.
    pub retry_may_help: bool,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> Self {
        Self {
            class: class_name(failure.class).to_owned(),
            message: failure.message.clone(),
            advice: failure.advice.clone(),
            retry_may_help: failure.class.retry_may_help(),
        }
    }
}

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

fn rfc3339(at_ms: i64) -> String {
    Timestamp::from_millis(at_ms).to_string()
}
