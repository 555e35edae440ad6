//! A job store in memory whose next write of some kind waits until the test lets it go on.

use std::sync::Arc;

use async_trait::async_trait;
use penstock_common::clock::Timestamp;
use penstock_coordinator::{
    event::StoredKey,
    journal::Fact,
    store::{JobFilter, JobRecord, JobStore, Positioned, StoreError, Write, memory::MemoryStore},
};
use penstock_protocol::ids::JobId;
use tokio::sync::{Notify, Semaphore, watch};

#[derive(Debug)]
pub struct GatedStore {
    store: MemoryStore,
    held: fn(&Fact) -> bool,
    waits: Notify,
    open: Semaphore,
    /// What it says while a write is held.
    reason: Option<Arc<str>>,
    full: watch::Sender<Option<Arc<str>>>,
}

impl GatedStore {
    /// Holds every write with such a fact.
    pub fn holding(held: fn(&Fact) -> bool) -> Self {
        Self {
            store: MemoryStore::default(),
            held,
            waits: Notify::new(),
            open: Semaphore::new(0),
            reason: None,
            full: watch::Sender::new(None),
        }
    }

    /// Holds them, and says that it does so because the disk is full.
    pub fn full_at(held: fn(&Fact) -> bool) -> Self {
        Self { reason: Some("the disk is full".into()), ..Self::holding(held) }
    }

    /// Until a write is held.
    pub async fn held(&self) {
        self.waits.notified().await;
    }

    /// Lets what is held go on, and everything that comes.
    pub fn open(&self) {
        self.open.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

#[async_trait]
impl JobStore for GatedStore {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let is_held =
            |write: &Write| matches!(write, Write::Append { record, .. } if (self.held)(&record.fact));
        if writes.iter().any(is_held) {
            self.waits.notify_one();
            self.full.send_replace(self.reason.clone());
            drop(self.open.acquire().await.unwrap());
            self.full.send_replace(None);
        }
        self.store.write(writes).await
    }

    fn full(&self) -> Option<Arc<str>> {
        self.full.borrow().clone()
    }

    async fn until_full(&self) -> Arc<str> {
        let mut full = self.full.subscribe();
        full.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.store.job(job).await
    }

    async fn job_by_key(&self, idempotency_key: &str) -> Result<Option<StoredKey>, StoreError> {
        self.store.job_by_key(idempotency_key).await
    }

    async fn job_by_scope(&self, scope_key: &str) -> Result<Option<StoredKey>, StoreError> {
        self.store.job_by_scope(scope_key).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobRecord>, StoreError> {
        self.store.jobs(filter).await
    }

    async fn unfinished(&self) -> Result<Vec<JobRecord>, StoreError> {
        self.store.unfinished().await
    }

    async fn journal(&self, job: JobId, position: u64, limit: u32) -> Result<Vec<Positioned>, StoreError> {
        self.store.journal(job, position, limit).await
    }

    async fn prune(&self, ended_before: Timestamp) -> Result<u64, StoreError> {
        self.store.prune(ended_before).await
    }

    async fn tables(&self) -> Result<Vec<(String, serde_json::Value)>, StoreError> {
        self.store.tables().await
    }

    async fn table(&self, name: &str) -> Result<Option<serde_json::Value>, StoreError> {
        self.store.table(name).await
    }

    async fn put_table(&self, name: &str, definition: serde_json::Value) -> Result<(), StoreError> {
        self.store.put_table(name, definition).await
    }

    async fn drop_table(&self, name: &str) -> Result<bool, StoreError> {
        self.store.drop_table(name).await
    }
}
