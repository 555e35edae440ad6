//! The coordinator's store in the simulation: outlives its coordinator, takes time, and tells what was written.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use penstock_common::clock::Timestamp;
use penstock_coordinator::{
    event::StoredKey,
    store::{JobFilter, JobRecord, JobStore, Positioned, StoreError, Write, memory::MemoryStore},
};
use penstock_protocol::ids::JobId;

use crate::{random::Dice, record::Record};

#[derive(Debug)]
pub struct SimStore {
    kept: MemoryStore,
    record: Arc<Record>,
    dice: Dice,
    delay_max_ms: u64,
}

impl SimStore {
    pub fn new(seed: u64, delay_max_ms: u64, record: Arc<Record>) -> Self {
        Self { kept: MemoryStore::default(), record, dice: Dice::new(seed, "store"), delay_max_ms }
    }

    /// A crash may come before and after a write, so both take time.
    async fn pause(&self) {
        let pause = self.dice.roll(self.delay_max_ms + 1);
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

#[async_trait]
impl JobStore for SimStore {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.pause().await;
        self.kept.write(writes.clone()).await?;
        writes.iter().for_each(|write| self.record.stored(write));
        self.pause().await;
        Ok(())
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.kept.job(job).await
    }

    async fn job_by_key(&self, idempotency_key: &str) -> Result<Option<StoredKey>, StoreError> {
        self.pause().await;
        self.kept.job_by_key(idempotency_key).await
    }

    async fn job_by_scope(&self, scope_key: &str) -> Result<Option<StoredKey>, StoreError> {
        self.kept.job_by_scope(scope_key).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobRecord>, StoreError> {
        self.kept.jobs(filter).await
    }

    async fn unfinished(&self) -> Result<Vec<JobRecord>, StoreError> {
        self.kept.unfinished().await
    }

    async fn journal(&self, job: JobId, position: u64, limit: u32) -> Result<Vec<Positioned>, StoreError> {
        self.kept.journal(job, position, limit).await
    }

    async fn prune(&self, ended_before: Timestamp) -> Result<u64, StoreError> {
        self.kept.prune(ended_before).await
    }

    async fn tables(&self) -> Result<Vec<(String, serde_json::Value)>, StoreError> {
        self.kept.tables().await
    }

    async fn table(&self, name: &str) -> Result<Option<serde_json::Value>, StoreError> {
        self.kept.table(name).await
    }

    async fn put_table(&self, name: &str, definition: serde_json::Value) -> Result<(), StoreError> {
        self.kept.put_table(name, definition).await
    }

    async fn drop_table(&self, name: &str) -> Result<bool, StoreError> {
        self.kept.drop_table(name).await
    }
}
