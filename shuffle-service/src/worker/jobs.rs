//! What this worker knows of jobs besides their data: whose they are, and whether they may grow.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
};

use penstock_protocol::ids::JobId;

#[derive(Debug, Default)]
pub(super) struct Jobs {
    users: RwLock<BTreeMap<JobId, String>>,
    over_quota: RwLock<BTreeSet<JobId>>,
}

impl Jobs {
    /// The owner said whose job it is. To be called once the job has something here.
    pub fn set_user(&self, job: JobId, user: &str) {
        if !user.is_empty() {
            self.users.write().unwrap_or_else(PoisonError::into_inner).insert(job, user.to_owned());
        }
    }

    pub fn user(&self, job: JobId) -> String {
        self.users.read().unwrap_or_else(PoisonError::into_inner).get(&job).cloned().unwrap_or_default()
    }

    /// Takes the jobs that must not grow; returns those that could until now.
    pub fn set_over_quota(&self, jobs: BTreeSet<JobId>) -> Vec<JobId> {
        let mut over_quota = self.over_quota.write().unwrap_or_else(PoisonError::into_inner);
        let news = jobs.difference(&over_quota).copied().collect();
        *over_quota = jobs;
        news
    }

    pub fn is_over_quota(&self, job: JobId) -> bool {
        self.over_quota.read().unwrap_or_else(PoisonError::into_inner).contains(&job)
    }

    /// Forgets jobs that nothing is held of.
    pub fn retain(&self, held: &BTreeSet<JobId>) {
        self.users.write().unwrap_or_else(PoisonError::into_inner).retain(|job, _| held.contains(job));
    }
}
