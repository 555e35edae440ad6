//! What clients call: REST with JSON, and Arrow Flight for rows. Both speak to the core through the same handle.

pub mod flight;
mod ids;
pub mod rest;
mod submit;

use std::{sync::Arc, time::Duration};

use penstock_common::clock::{Clock, Timestamp};
use penstock_protocol::ids::{JobId, StatementIndex};

pub use self::{ids::JobIds, submit::SubmitFailure};
use crate::{
    config::Config,
    effects::Effects,
    event::Event,
    event_loop::Stopped,
    job::{JobStatus, StatementState},
    results::{NotKept, Rows},
    server::Handle,
    store::StoreError,
};

/// A cheap handle that every call gets a clone of.
#[derive(Debug, Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    effects: Arc<Effects>,
    clock: Arc<dyn Clock>,
    /// Since when this life of the coordinator answers.
    started_at: Timestamp,
    results_ttl: Duration,
    ids: JobIds,
    public_url: String,
    history_url: Option<String>,
    request_bytes_max: usize,
}

/// Why a job could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("there is no job {job}")]
    UnknownJob { job: JobId },
    #[error("the job store cannot be read")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a statement has no rows to stream.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("job {job} has no statement {statement}")]
    UnknownStatement { job: JobId, statement: StatementIndex },
    #[error("statement {statement} of job {job} has not finished")]
    NotFinished { job: JobId, statement: StatementIndex },
    #[error("statement {statement} of job {job} has no rows to fetch")]
    NoRows { job: JobId, statement: StatementIndex },
    #[error("the result of statement {statement} of job {job} is no longer kept: {why}")]
    Gone { job: JobId, statement: StatementIndex, why: Gone },
}

/// Why a result that there was is not kept any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    #[error("results expire {} s after their statement ended", ttl.as_secs())]
    Expired { ttl: Duration },
    #[error("the coordinator was restarted since, which results do not survive")]
    Restarted,
    #[error("results of newer jobs needed the room")]
    NoRoom,
}

impl Gone {
    pub fn advice(self) -> &'static str {
        match self {
            Self::Expired { .. } => {
                "submit the job again, under another idempotency key if it had one; `results_ttl_seconds` of \
                 [coordinator] sets how long results stay, and `copy … to` or `create table … as` keeps them"
            }
            Self::Restarted => {
                "submit the job again, under another idempotency key if it had one; `copy … to` or \
                 `create table … as` keeps rows for good"
            }
            Self::NoRoom => {
                "submit the job again, under another idempotency key if it had one, and fetch the result soon; \
                 `inline_results_bytes_max` of [coordinator] sets how much room there is"
            }
        }
    }
}

impl Api {
    pub fn new(effects: Arc<Effects>, config: &Config, handle: &Handle, clock: Arc<dyn Clock>) -> Self {
        let public_url = match config.public_url.trim_end_matches('/') {
            "" => format!("http://{}", handle.rest),
            url => url.to_owned(),
        };
        let history_url = match config.history_url.trim_end_matches('/') {
            "" => None,
            url => Some(url.to_owned()),
        };
        let request_bytes_max = config.request_bytes_max;
        let inner = Inner {
            effects,
            started_at: clock.now(),
            clock,
            results_ttl: config.results_ttl(),
            ids: JobIds::default(),
            public_url,
            history_url,
            request_bytes_max,
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn effects(&self) -> &Arc<Effects> {
        &self.inner.effects
    }

    /// An id that no job has.
    pub fn fresh_id(&self) -> JobId {
        self.inner.ids.next(self.now())
    }

    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub fn job_url(&self, job: JobId) -> String {
        format!("{}/api/v1/jobs/{job}", self.inner.public_url)
    }

    pub fn history_url(&self, job: JobId) -> Option<String> {
        self.inner.history_url.as_ref().map(|url| format!("{url}/jobs/{job}"))
    }

    pub fn request_bytes_max(&self) -> usize {
        self.inner.request_bytes_max
    }

    /// A job as it is now, from memory or from the store.
    pub async fn status(&self, job: JobId) -> Result<Arc<JobStatus>, LookupError> {
        if let Some(status) = self.effects().board.get(job) {
            return Ok(status);
        }
        let record = self.effects().store.job(job).await?;
        record.map(|record| record.status).ok_or(LookupError::UnknownJob { job })
    }

    /// As above, once it has news or has ended, or after `patience`. Asking renews the job's lease.
    pub async fn wait(
        &self,
        job: JobId,
        since: Option<u64>,
        patience: Duration,
    ) -> Result<Arc<JobStatus>, LookupError> {
        let status = self.status(job).await?;
        if status.state.is_terminal() {
            return Ok(status);
        }
        if status.spec.lease_seconds.is_some_and(|seconds| seconds > 0) {
            self.effects().inbox.send(Event::Polled { job }).await;
        }
        match self.effects().board.wait(job, since, patience).await {
            Some(status) => Ok(status),
            None => self.status(job).await,
        }
    }

    /// The rows of a finished statement.
    pub async fn rows(&self, job: JobId, statement: StatementIndex) -> Result<Rows, RowsError> {
        let status = self.status(job).await?;
        let found = status.statements.iter().find(|candidate| candidate.index == statement);
        let Some(found) = found else {
            // A job that has not been parsed yet does not know its statements.
            return Err(match status.state.is_terminal() {
                true => RowsError::UnknownStatement { job, statement },
                false => RowsError::NotFinished { job, statement },
            });
        };
        match found.state {
            StatementState::Waiting
            | StatementState::Planning
            | StatementState::Running
            | StatementState::Publishing => Err(RowsError::NotFinished { job, statement }),
            StatementState::Succeeded if found.has_result => {
                let opened = self.effects().results.open(job, statement, self.now());
                opened.map_err(|missing| RowsError::Gone {
                    job,
                    statement,
                    why: self.why_gone(&status, missing),
                })
            }
            _ => Err(RowsError::NoRows { job, statement }),
        }
    }

    fn why_gone(&self, status: &JobStatus, missing: NotKept) -> Gone {
        let ttl = self.inner.results_ttl;
        match status.finished_at {
            _ if missing == NotKept::Expired => Gone::Expired { ttl },
            Some(at) if at + ttl <= self.now() => Gone::Expired { ttl },
            Some(at) if at < self.inner.started_at => Gone::Restarted,
            _ => Gone::NoRoom,
        }
    }
}
