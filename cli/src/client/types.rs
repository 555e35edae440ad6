//! What REST says and hears. Fields that are not known here are kept, so that `--json` shows all there is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::exit::Class;

/// The body of `POST /jobs`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Submission {
    pub sql: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    pub client: String,
    /// Where relative paths of the script start: the client's working directory.
    pub base_url: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submitted {
    pub job_id: String,
    pub state: String,
    #[serde(default)]
    pub history_url: Option<String>,
    #[serde(default)]
    pub reattached: bool,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobStatus {
    pub job_id: String,
    #[serde(default)]
    pub name: Option<String>,
    pub state: String,
    #[serde(default)]
    pub version: u64,
    #[serde(default)]
    pub waiting: Option<String>,
    #[serde(default)]
    pub submitted_at: Option<String>,
    #[serde(default)]
    pub started_at: Option<String>,
    #[serde(default)]
    pub finished_at: Option<String>,
    #[serde(default)]
    pub progress: Progress,
    #[serde(default)]
    pub totals: Totals,
    #[serde(default)]
    pub failure: Option<JobFailure>,
    #[serde(default)]
    pub statements: Vec<Statement>,
    #[serde(default)]
    pub reruns: Vec<Rerun>,
    #[serde(default)]
    pub history_url: Option<String>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl JobStatus {
    pub fn is_finished(&self) -> bool {
        matches!(self.state.as_str(), "SUCCEEDED" | "FAILED" | "CANCELLED" | "LOST")
    }

    pub fn succeeded(&self) -> bool {
        self.state == "SUCCEEDED"
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    pub statements_total: u64,
    pub statements_finished: u64,
    pub stages_total: u64,
    pub stages_finished: u64,
    pub tasks_total: u64,
    pub tasks_finished: u64,
    pub tasks_running: u64,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    pub rows: u64,
    pub scanned_bytes: u64,
    pub shuffled_bytes: u64,
    pub spilled_bytes: u64,
    pub written_bytes: u64,
    pub slot_seconds: f64,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobFailure {
    pub class: String,
    pub message: String,
    #[serde(default)]
    pub advice: Option<String>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl JobFailure {
    pub fn class(&self) -> Class {
        serde_json::from_value(Value::String(self.class.clone())).unwrap_or(Class::Other)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Statement {
    pub index: u32,
    #[serde(default)]
    pub sql: String,
    #[serde(default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub rows: Option<u64>,
    #[serde(default)]
    pub has_result: bool,
    #[serde(default)]
    pub outputs: Option<Outputs>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A stage that ran again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rerun {
    pub stage: u32,
    #[serde(default)]
    pub stage_name: String,
    #[serde(default)]
    pub message: String,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What a sink published.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outputs {
    pub target: String,
    #[serde(default)]
    pub files: u64,
    #[serde(default)]
    pub rows: u64,
    #[serde(default)]
    pub bytes: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobPage {
    pub jobs: Vec<JobStatus>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    pub next: u64,
    pub eof: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogLine {
    pub at: String,
    #[serde(default)]
    pub level: String,
    pub message: String,
}

#[derive(Debug, Deserialize)]
pub struct ErrorBody {
    pub error: RestError,
}

#[derive(Debug, Deserialize)]
pub struct RestError {
    #[serde(default)]
    pub class: Option<Class>,
    pub message: String,
    #[serde(default)]
    pub advice: Option<String>,
}
