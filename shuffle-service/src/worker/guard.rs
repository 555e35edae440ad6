//! Lets nobody at the data of a job who does not show its token, if a cluster secret is configured.
//!
//! Asked before anything else is looked up, so that a stranger does not even learn what is here.

use penstock_protocol::{
    frame::Refusal,
    ids::JobId,
    token::{ClusterSecret, JobToken},
};

#[derive(Debug, Default)]
pub(super) struct Guard(Option<ClusterSecret>);

impl Guard {
    pub fn new(secret: Option<ClusterSecret>) -> Self {
        Self(secret)
    }

    pub fn check(&self, job: JobId, token: JobToken) -> Result<(), Refusal> {
        match &self.0 {
            Some(secret) if !secret.admits(job, token) => Err(Refusal::Denied),
            _ => Ok(()),
        }
    }
}
