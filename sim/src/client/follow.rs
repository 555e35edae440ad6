//! One client's way with one job.

use std::time::Duration;

use penstock_protocol::{event::JobState, ids::JobId};
use serde_json::{Value, json};

use super::http::{Answer, CallError, Server};
use crate::{
    cluster::{Life, World},
    record::{Accepted, Outcome},
    topology::REST,
    workload::JobPlan,
};

const PATIENCE: Duration = Duration::from_secs(15);
const RETRY_AFTER: Duration = Duration::from_millis(700);

/// Submits the job, follows it, and submits it again if it failed and its plan says so.
pub(super) async fn client(world: &World, life: &Life, number: usize, plan: &JobPlan) {
    tokio::time::sleep(plan.submit_at).await;
    let client =
        Client { world, server: Server { network: life.network.as_ref(), addr: REST }, number, plan };
    let mut before = None;
    for _ in 0..plan.tries {
        let submitted_ms = world.record.now_ms();
        let job = client.submit(before).await;
        let ended = client.follow(job, submitted_ms, before.is_none()).await;
        before = Some(job);
        if ended != JobState::Failed {
            return;
        }
    }
}

/// Submits the same with the same key: gets the same job, or the next try of one that has ended badly.
pub(super) async fn second_client(
    world: &World,
    life: &Life,
    number: usize,
    plan: &JobPlan,
    after: Duration,
) {
    tokio::time::sleep(plan.submit_at + after).await;
    let client =
        Client { world, server: Server { network: life.network.as_ref(), addr: REST }, number, plan };
    client.submit(None).await;
}

struct Client<'a> {
    world: &'a World,
    server: Server<'a>,
    number: usize,
    plan: &'a JobPlan,
}

impl Client<'_> {
    /// Until it is accepted.
    async fn submit(&self, before: Option<JobId>) -> JobId {
        let body = json!({
            "sql": self.plan.script(),
            "name": self.plan.key(),
            "settings": self.plan.settings(),
            "idempotency_key": self.plan.key(),
        });
        loop {
            let answer = self.server.post("/api/v1/jobs", &body, PATIENCE).await;
            match answer {
                Ok(Answer { status: 200 | 201, body }) => {
                    let job = body["job_id"].as_str().and_then(|job| job.parse().ok());
                    let job: JobId = job.expect("an accepted job has an id");
                    let try_number = body["try"].as_u64().unwrap_or(0);
                    let accepted = Accepted { plan: self.number, job, try_number, after: before };
                    self.world.record.accepted(accepted);
                    return job;
                }
                other => self.trouble("submitting", other).await,
            }
        }
    }

    /// To its end.
    async fn follow(&self, job: JobId, submitted_ms: u64, first: bool) -> JobState {
        let cancel = async {
            match self.plan.cancel_after.filter(|_| first) {
                Some(after) => {
                    tokio::time::sleep(after).await;
                    self.cancel(job).await;
                    std::future::pending::<()>().await;
                }
                None => std::future::pending().await,
            }
        };
        let view = tokio::select! {
            biased;
            view = self.ended(job) => view,
            () = cancel => Value::Null,
        };
        let ended_ms = self.world.record.now_ms();
        let state: JobState = serde_json::from_value(view["state"].clone()).expect("a job has a state");
        let mut results = Vec::new();
        if state == JobState::Succeeded {
            for statement in 0..self.plan.statements.len() {
                results.push(self.rows(job, statement).await);
            }
        }
        self.world.record.ended(Outcome {
            plan: self.number,
            job,
            state,
            class: view["failure"]["class"].as_str().map(str::to_owned),
            message: view["failure"]["message"].as_str().unwrap_or_default().to_owned(),
            was_cancelled: first && self.plan.cancel_after.is_some(),
            submitted_ms,
            ended_ms,
            results,
        });
        state
    }

    async fn ended(&self, job: JobId) -> Value {
        let mut since = 0;
        loop {
            let path = format!("/api/v1/jobs/{job}?wait=10s&since={since}");
            match self.server.get(&path, PATIENCE).await {
                Ok(Answer { status: 200, body }) => {
                    if matches!(body["state"].as_str(), Some("SUCCEEDED" | "FAILED" | "CANCELLED")) {
                        return body;
                    }
                    since = body["version"].as_u64().unwrap_or(0);
                }
                Ok(Answer { status: 404, .. }) => {
                    let what = format!("{job} was accepted and is not known");
                    self.world.record.violation("accepted-means-kept", what);
                    std::future::pending().await
                }
                other => self.trouble("asking", other).await,
            }
        }
    }

    async fn cancel(&self, job: JobId) {
        loop {
            match self.server.post(&format!("/api/v1/jobs/{job}/cancel"), &json!({}), PATIENCE).await {
                Ok(Answer { status: 200, .. }) => return,
                other => self.trouble("cancelling", other).await,
            }
        }
    }

    /// The sorted rows, or the last word on why there are none.
    async fn rows(&self, job: JobId, statement: usize) -> Result<Vec<u64>, String> {
        let path = format!("/api/v1/jobs/{job}/results/{statement}?format=json");
        let mut last = String::new();
        for _ in 0..8 {
            match self.server.get(&path, PATIENCE).await {
                Ok(Answer { status: 200, body }) => {
                    let rows = body.as_array().into_iter().flatten().map(|row| row["row"].as_u64());
                    let mut rows = rows.collect::<Option<Vec<_>>>().ok_or("rows without a number")?;
                    rows.sort_unstable();
                    return Ok(rows);
                }
                Ok(Answer { status: 410, body }) => {
                    return Err(format!("gone: {}", body["error"]["message"]));
                }
                Ok(answer) => last = format!("{}: {}", answer.status, answer.body),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
        Err(last)
    }

    /// A call went wrong: later again, if that can be.
    async fn trouble(&self, doing: &str, answer: Result<Answer, CallError>) {
        match answer {
            Ok(Answer { status, body }) if status < 500 && status != 429 => {
                let what = format!("{doing} {}: {status} {body}", self.plan.key());
                self.world.record.violation("sound-calls-are-answered", what);
                std::future::pending::<()>().await;
            }
            Ok(_) | Err(_) => tokio::time::sleep(RETRY_AFTER).await,
        }
    }
}
