//! Lets nobody at the data of a job who does not show its token, if a cluster secret is configured.
//!
//! Asked before anything else is looked up, so that a stranger does not even learn what is here.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use penstock_protocol::{
    frame::Refusal,
    ids::JobId,
    token::{ClusterSecret, JobToken},
};

/// Jobs whose denial is remembered; beyond it some are logged once more.
const LOGGED_MAX: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Guard {
    secret: Option<ClusterSecret>,
    /// A client that goes on trying does not fill the log.
    logged: Mutex<BTreeSet<JobId>>,
}

impl Guard {
    pub fn new(secret: Option<ClusterSecret>) -> Self {
        Self { secret, logged: Mutex::default() }
    }

    pub fn check(&self, job: JobId, token: JobToken) -> Result<(), Refusal> {
        match &self.secret {
            Some(secret) if !secret.admits(job, token) => {
                self.log(job);
                Err(Refusal::Denied)
            }
            _ => Ok(()),
        }
    }

    fn log(&self, job: JobId) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() >= LOGGED_MAX {
            logged.clear();
        }
        if logged.insert(job) {
            tracing::warn!(%job, "somebody without the token of this job was turned away");
        }
    }
}
