//! A store for tests and for clusters that live as long as one command.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use penstock_common::clock::Timestamp;
use penstock_protocol::ids::JobId;

use super::{JobFilter, JobRecord, JobStore, Positioned, StoreError, Write};
use crate::{event::StoredKey, journal::Record};

#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<JobId, JobRecord>,
    journals: BTreeMap<JobId, Vec<Record>>,
    tables: BTreeMap<String, serde_json::Value>,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// All writes would succeed one after the other.
    fn check(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut inserted = BTreeSet::new();
        for write in writes {
            match write {
                Write::InsertJob(record) => {
                    let job = record.job();
                    if self.jobs.contains_key(&job) || !inserted.insert(job) {
                        return Err(StoreError::Exists { job });
                    }
                }
                Write::UpdateJob(_) | Write::Append { .. } => {
                    let job = write.job();
                    if !self.jobs.contains_key(&job) && !inserted.contains(&job) {
                        return Err(StoreError::Unknown { job });
                    }
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::InsertJob(record) | Write::UpdateJob(record) => {
                self.jobs.insert(record.job(), *record);
            }
            Write::Append { job, record } => self.journals.entry(job).or_default().push(record),
        }
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut state = self.state();
        state.check(&writes)?;
        writes.into_iter().for_each(|write| state.apply(write));
        Ok(())
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRecord>, StoreError> {
        Ok(self.state().jobs.get(&job).cloned())
    }

    async fn job_by_key(&self, idempotency_key: &str) -> Result<Option<StoredKey>, StoreError> {
        let state = self.state();
        let mut newest_first = state.jobs.values().rev();
        let found =
            newest_first.find(|job| job.status.spec.idempotency_key.as_deref() == Some(idempotency_key));
        Ok(found.map(JobRecord::stored_key))
    }

    async fn job_by_scope(&self, scope_key: &str) -> Result<Option<StoredKey>, StoreError> {
        let state = self.state();
        let mut newest_first = state.jobs.values().rev();
        let found = newest_first.find(|job| job.status.spec.scope_key.as_deref() == Some(scope_key));
        Ok(found.map(JobRecord::stored_key))
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobRecord>, StoreError> {
        let name = filter.name.as_ref().map(|name| name.to_lowercase());
        let wanted = |record: &&JobRecord| {
            let status = &record.status;
            filter.before.is_none_or(|before| status.job < before)
                && (filter.states.is_empty() || filter.states.contains(&status.state))
                && name.as_ref().is_none_or(|name| status.spec.name.to_lowercase().contains(name))
        };
        let state = self.state();
        Ok(state.jobs.values().rev().filter(wanted).take(filter.limit() as usize).cloned().collect())
    }

    async fn unfinished(&self) -> Result<Vec<JobRecord>, StoreError> {
        let state = self.state();
        Ok(state.jobs.values().filter(|record| !record.status.state.is_terminal()).cloned().collect())
    }

    async fn journal(&self, job: JobId, position: u64, limit: u32) -> Result<Vec<Positioned>, StoreError> {
        let state = self.state();
        let records = (0..).zip(state.journals.get(&job).into_iter().flatten());
        let page = records.skip_while(|(at, _)| *at < position).take(limit as usize);
        Ok(page.map(|(position, record)| Positioned { position, record: record.clone() }).collect())
    }

    async fn prune(&self, ended_before: Timestamp) -> Result<u64, StoreError> {
        let is_old = |record: &JobRecord| record.status.finished_at.is_some_and(|at| at < ended_before);
        let mut state = self.state();
        let old: Vec<_> = state.jobs.values().filter(|record| is_old(record)).map(JobRecord::job).collect();
        for job in &old {
            state.jobs.remove(job);
            state.journals.remove(job);
        }
        Ok(old.len() as u64)
    }

    async fn tables(&self) -> Result<Vec<(String, serde_json::Value)>, StoreError> {
        Ok(self.state().tables.clone().into_iter().collect())
    }

    async fn table(&self, name: &str) -> Result<Option<serde_json::Value>, StoreError> {
        Ok(self.state().tables.get(name).cloned())
    }

    async fn put_table(&self, name: &str, definition: serde_json::Value) -> Result<(), StoreError> {
        self.state().tables.insert(name.to_owned(), definition);
        Ok(())
    }

    async fn drop_table(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.state().tables.remove(name).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_memory_store_keeps_the_contract_of_stores() {
        super::super::suite::run(&MemoryStore::default()).await;
    }
}
