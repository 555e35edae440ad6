//! Where jobs, their journals and the catalog live beyond the process.
//!
//! In: rows and records, opaque to the store but for the columns it looks up by. Every write is durable when it
//! returns. Not here: what the records mean.

pub mod memory;
mod migrations;
pub mod sqlite;
#[cfg(test)]
mod suite;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use penstock_common::clock::Timestamp;
use penstock_protocol::{event::JobState, ids::JobId, task::FailureClass};

use crate::{
    event::StoredKey,
    job::{JobFailure, JobStatus, StatementState},
    journal::{Fact, Record},
};

/// A job's row: its status, and with it everything that is looked up by.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    pub status: Arc<JobStatus>,
}

impl JobRecord {
    pub fn job(&self) -> JobId {
        self.status.job
    }

    /// As the holder of an idempotency key or a scope.
    pub fn stored_key(&self) -> StoredKey {
        StoredKey {
            job: self.status.job,
            try_number: self.status.try_number,
            state: self.status.state,
            definition_hash: self.status.definition_hash.clone(),
        }
    }

    /// The same job, ended by a restart of the coordinator.
    pub fn failed_by_restart(&self, now: Timestamp) -> Self {
        let mut status = JobStatus::clone(&self.status);
        let advice = Some("submit it again with the same idempotency key");
        let message = "the coordinator restarted while the job was active";
        status.state = JobState::Failed;
        status.finished_at = Some(now);
        status.version += 1;
        status.waiting = None;
        status.failure = Some(JobFailure::new(FailureClass::Infrastructure, message, advice));
        status.progress.tasks_running = 0;
        for statement in &mut status.statements {
            statement.state = match statement.state {
                StatementState::Waiting => StatementState::Skipped,
                StatementState::Planning | StatementState::Running | StatementState::Publishing => {
                    StatementState::Failed
                }
                over => over,
            };
        }
        Self { status: Arc::new(status) }
    }
}

/// Which jobs to list; newest first.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Any of these; all if empty.
    pub states: Vec<JobState>,
    /// Part of the name, ignoring case.
    pub name: Option<String>,
    /// Jobs that were submitted before this one: the last id of the page before.
    pub before: Option<JobId>,
    /// At most 1,000; 0 means 100.
    pub limit: u32,
}

impl JobFilter {
    pub(crate) fn limit(&self) -> u32 {
        if self.limit == 0 { 100 } else { self.limit.min(1_000) }
    }
}

/// A record with its position in the job's journal, from 0 without gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Positioned {
    pub position: u64,
    pub record: Record,
}

/// One change of the store; a slice of them is applied as a whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    InsertJob(Box<JobRecord>),
    UpdateJob(Box<JobRecord>),
    Append { job: JobId, record: Record },
}

impl Write {
    pub fn job(&self) -> JobId {
        match self {
            Self::InsertJob(record) | Self::UpdateJob(record) => record.job(),
            Self::Append { job, .. } => *job,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("job {job} exists already")]
    Exists { job: JobId },
    #[error("job {job} is not in the store")]
    Unknown { job: JobId },
    #[error("the store holds something that this version cannot read: {what}")]
    Unreadable {
        what: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the journal of job {job} was written by version {version}; this is version {known}")]
    Version { job: JobId, version: u32, known: u32 },
    /// Somebody has to make room; what was to be written is not.
    #[error("no room on the disk of {}: {source}", path.display())]
    Full {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{doing}")]
    Database {
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

#[async_trait]
pub trait JobStore: std::fmt::Debug + Send + Sync {
    /// Applies all writes in one transaction. Waits while the disk is full: what was decided must not be forgotten.
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Why a write waits for room, while one does.
    fn full(&self) -> Option<Arc<str>> {
        None
    }

    /// Returns when a write waits for room.
    async fn until_full(&self) -> Arc<str> {
        std::future::pending().await
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRecord>, StoreError>;
    /// The newest job with this idempotency key.
    async fn job_by_key(&self, idempotency_key: &str) -> Result<Option<StoredKey>, StoreError>;
    /// The newest job in this scope.
    async fn job_by_scope(&self, scope_key: &str) -> Result<Option<StoredKey>, StoreError>;
    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobRecord>, StoreError>;
    /// Jobs that had not ended when they were last written: what a restart has to deal with. Oldest first.
    async fn unfinished(&self) -> Result<Vec<JobRecord>, StoreError>;
    /// Ends every unfinished job as failed by the restart, and says which; for a coordinator that cannot run them on.
    async fn fail_unfinished(&self, now: Timestamp) -> Result<Vec<JobRecord>, StoreError> {
        let failed: Vec<_> =
            self.unfinished().await?.iter().map(|record| record.failed_by_restart(now)).collect();
        let updates = failed.iter().map(|record| Write::UpdateJob(Box::new(record.clone())));
        let facts = failed.iter().map(|record| {
            let fact = Fact::Finished { state: record.status.state, failure: record.status.failure.clone() };
            Write::Append { job: record.job(), record: Record { at: now, fact } }
        });
        self.write(updates.chain(facts).collect()).await?;
        Ok(failed)
    }

    /// At most `limit` records from `position` on.
    async fn journal(&self, job: JobId, position: u64, limit: u32) -> Result<Vec<Positioned>, StoreError>;

    /// Deletes jobs that ended before then, with their journals; says how many.
    async fn prune(&self, ended_before: Timestamp) -> Result<u64, StoreError>;

    /// All tables by name; definitions are opaque.
    async fn tables(&self) -> Result<Vec<(String, serde_json::Value)>, StoreError>;
    async fn table(&self, name: &str) -> Result<Option<serde_json::Value>, StoreError>;
    /// Creates or replaces.
    async fn put_table(&self, name: &str, definition: serde_json::Value) -> Result<(), StoreError>;
    /// Whether it was there.
    async fn drop_table(&self, name: &str) -> Result<bool, StoreError>;
}
