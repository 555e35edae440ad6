//! Talks to a coordinator over REST. In: requests and ids. Out: typed answers that keep every field for `--json`.
//!
//! Not here: what is printed, when to give up.

use std::time::Duration;

use anyhow::Context;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::exit::{Exit, Failed};

mod batches;
mod masters;
mod types;

pub use batches::Batches;
pub use masters::Masters;
pub use types::*;

/// How long the server may hold a status request while nothing changes.
const LONG_POLL: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    /// `url` is the coordinator's address: `http://127.0.0.1:7070`, or without the scheme.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let refused =
            |cause: String| Failed::usage(format!("`{url}` is not the URL of a coordinator: {cause}"));
        let mut base: Url = with_scheme.parse().map_err(|cause| refused(format!("{cause}")))?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let base = base.join("api/v1/").map_err(|cause| refused(cause.to_string()))?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .user_agent(concat!("penstock-cli/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, base })
    }

    pub async fn submit(&self, job: &Submission) -> anyhow::Result<Submitted> {
        self.answer(self.http.post(self.url("jobs")?).json(job)).await
    }

    pub async fn job(&self, id: &str) -> anyhow::Result<JobStatus> {
        self.answer(self.http.get(self.url(&format!("jobs/{id}"))?)).await
    }

    /// Returns when the job's version is above `since`, when it ended, or after some seconds.
    pub async fn job_after(&self, id: &str, since: u64) -> anyhow::Result<JobStatus> {
        let wait = format!("{}s", LONG_POLL.as_secs());
        let query = [("wait", wait), ("since", since.to_string())];
        self.answer(self.http.get(self.url(&format!("jobs/{id}"))?).query(&query)).await
    }

    pub async fn jobs(&self, query: &[(&str, String)]) -> anyhow::Result<JobPage> {
        self.answer(self.http.get(self.url("jobs")?).query(query)).await
    }

    pub async fn cancel(&self, id: &str, reason: Option<&str>) -> anyhow::Result<JobStatus> {
        let body = json!({ "reason": reason });
        self.answer(self.http.post(self.url(&format!("jobs/{id}/cancel"))?).json(&body)).await
    }

    pub async fn cancel_by_key(&self, key: &str, reason: Option<&str>) -> anyhow::Result<Value> {
        let body = json!({ "idempotency_key": key, "reason": reason });
        self.answer(self.http.post(self.url("jobs:cancelByKey")?).json(&body)).await
    }

    pub async fn validate(&self, job: &Submission) -> anyhow::Result<Value> {
        self.answer(self.http.post(self.url("jobs:validate")?).json(job)).await
    }

    pub async fn stages(&self, id: &str) -> anyhow::Result<Value> {
        self.get(&format!("jobs/{id}/stages")).await
    }

    pub async fn logs(&self, id: &str, from: u64) -> anyhow::Result<LogPage> {
        let request = self.http.get(self.url(&format!("jobs/{id}/logs"))?);
        self.answer(request.query(&[("from", from)])).await
    }

    pub async fn results(&self, id: &str, statement: u32, limit: Option<u64>) -> anyhow::Result<Batches> {
        let mut request = self.http.get(self.url(&format!("jobs/{id}/results/{statement}"))?);
        if let Some(limit) = limit {
            request = request.query(&[("limit", limit)]);
        }
        let response = self.send(request).await?;
        Ok(Batches::new(response.bytes_stream()))
    }

    pub async fn explain(&self, body: &impl Serialize) -> anyhow::Result<Value> {
        self.answer(self.http.post(self.url("explain")?).json(body)).await
    }

    /// Any resource that needs no more than its path.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.http.get(self.url(path)?)).await
    }

    fn url(&self, path: &str) -> anyhow::Result<Url> {
        // `./` keeps `jobs:cancelByKey` from being read as a scheme.
        self.base.join(&format!("./{path}")).with_context(|| format!("building the URL of {path}"))
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let body = self.send(request).await?.bytes().await.map_err(|cause| self.unreachable(&cause))?;
        serde_json::from_slice(&body).context("the coordinator's answer cannot be read")
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.map_err(|cause| self.unreachable(&cause))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(refusal("coordinator", status, &body).into())
    }

    fn unreachable(&self, cause: &reqwest::Error) -> Failed {
        let server = self.base.origin().ascii_serialization();
        let what = if cause.is_connect() { "cannot be reached" } else { "did not answer" };
        Failed::new(
            Exit::Infrastructure,
            format!("the coordinator at {server} {what}: {}", root_cause(cause)),
        )
        .advise("start one with `penstock cluster up`, or name yours with --url or PENSTOCK_URL")
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root_cause)
}

/// The error body of the REST interface, or what can be said without one.
fn refusal(server: &str, status: StatusCode, body: &[u8]) -> Failed {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { error }) => Failed {
            // A name that is not there, or not ready, is not wrong SQL.
            exit: match (status.as_u16(), error.class) {
                (404 | 409 | 410, _) | (_, None) => exit_of(status),
                (_, Some(class)) => class.exit(),
            },
            message: error.message,
            advice: error.advice,
        },
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            Failed::new(exit_of(status), format!("the {server} answered {status}: {}", text.trim()))
        }
    }
}

fn exit_of(status: StatusCode) -> Exit {
    match status.as_u16() {
        429 | 507 => Exit::Resources,
        400..=499 => Exit::Usage,
        502..=504 => Exit::Infrastructure,
        _ => Exit::Internal,
    }
}
