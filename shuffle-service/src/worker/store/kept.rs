//! What this life keeps of jobs without serving it: what former lives left and could be neither read nor deleted.
//!
//! Masters are told of its jobs like of those that are served, so that it goes when they end.

use std::collections::{BTreeMap, BTreeSet};

use penstock_protocol::ids::JobId;

/// Jobs, and the objects that their manifests name.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<JobId, BTreeSet<String>>);

impl Kept {
    pub fn add(&mut self, job: JobId, objects: impl IntoIterator<Item = String>) {
        self.0.entry(job).or_default().extend(objects);
    }

    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.0.keys().copied()
    }

    /// Forgets a job that is deleted; its objects.
    pub fn take(&mut self, job: JobId) -> BTreeSet<String> {
        self.0.remove(&job).unwrap_or_default()
    }
}
