//! The newest status of every job that the core remembers, for whoever asks or waits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_protocol::ids::JobId;
use tokio::sync::watch;

use crate::job::JobStatus;

#[derive(Debug, Default)]
pub struct StatusBoard {
    jobs: Mutex<HashMap<JobId, watch::Sender<Arc<JobStatus>>>>,
}

impl StatusBoard {
    /// Replaces a job's status, unless a newer one is there, and wakes who waits for it.
    pub fn publish(&self, status: Arc<JobStatus>) {
        let mut jobs = self.lock();
        match jobs.get(&status.job) {
            Some(job) => {
                job.send_if_modified(|current| {
                    let is_newer = status.version > current.version;
                    if is_newer {
                        *current = status;
                    }
                    is_newer
                });
            }
            None => {
                jobs.insert(status.job, watch::Sender::new(status));
            }
        }
    }

    /// From now on the store answers for this job.
    pub fn forget(&self, job: JobId) {
        self.lock().remove(&job);
    }

    pub fn get(&self, job: JobId) -> Option<Arc<JobStatus>> {
        self.lock().get(&job).map(|status| Arc::clone(&status.borrow()))
    }

    /// The status as soon as it is newer than `since` or final, or as it is after `patience`.
    pub async fn wait(&self, job: JobId, since: Option<u64>, patience: Duration) -> Option<Arc<JobStatus>> {
        let mut status = self.lock().get(&job)?.subscribe();
        let is_news = |status: &Arc<JobStatus>| {
            status.state.is_terminal() || since.is_some_and(|since| status.version > since)
        };
        // Both a timeout and a job that is forgotten meanwhile are answered with what is known.
        let _ = tokio::time::timeout(patience, status.wait_for(is_news)).await;
        let status = Arc::clone(&status.borrow());
        Some(status)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<Arc<JobStatus>>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
