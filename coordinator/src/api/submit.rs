//! Submitting and cancelling, as every interface does it.

use std::{sync::Arc, time::Duration};

use penstock_protocol::ids::JobId;

use super::{Api, LookupError};
use crate::{
    effect::{Accepted, CancelError, SubmitError},
    event::Event,
    event_loop::Stopped,
    job::{JobSpec, JobStatus},
    store::StoreError,
};

/// Why there is no job.
#[derive(Debug, thiserror::Error)]
pub enum SubmitFailure {
    #[error(transparent)]
    Refused(#[from] SubmitError),
    #[error("the coordinator cannot take jobs: {reason}")]
    Full { reason: Arc<str> },
    #[error("the job store cannot be read")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why nothing was cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelFailure {
    #[error("no active job has the idempotency key `{key}`")]
    UnknownKey { key: String },
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl Api {
    /// The job is in the store when this returns.
    pub async fn submit(&self, spec: JobSpec) -> Result<Accepted, SubmitFailure> {
        let effects = self.effects();
        if let Some(reason) = effects.store.full() {
            return Err(SubmitFailure::Full { reason });
        }
        let stored = match &spec.idempotency_key {
            Some(key) => effects.store.job_by_key(key).await?,
            None => None,
        };
        let (request, answer) = effects.replies.expect_submit();
        let job = self.fresh_id();
        let event = Event::Submit { request, job, spec: Box::new(spec), stored };
        let answered = async {
            effects.inbox.send(event).await;
            answer.await
        };
        tokio::select! {
            biased;
            answer = answered => Ok(answer.map_err(|_| Stopped)??),
            reason = effects.store.until_full() => {
                effects.take_back(job);
                Err(SubmitFailure::Full { reason })
            }
        }
    }

    /// A job that ended already is answered as it is.
    pub async fn cancel(
        &self,
        job: JobId,
        reason: String,
        grace: Duration,
    ) -> Result<Arc<JobStatus>, CancelFailure> {
        let (request, answer) = self.effects().replies.expect_cancel();
        self.effects().inbox.send(Event::Cancel { request: Some(request), job, reason, grace }).await;
        match answer.await.map_err(|_| LookupError::from(Stopped))? {
            Ok(status) => Ok(status),
            Err(CancelError::UnknownJob { .. } | CancelError::UnknownKey { .. }) => {
                Ok(self.status(job).await?)
            }
        }
    }

    pub async fn cancel_by_key(
        &self,
        idempotency_key: String,
        reason: String,
        grace: Duration,
    ) -> Result<Arc<JobStatus>, CancelFailure> {
        let (request, answer) = self.effects().replies.expect_cancel();
        let key = idempotency_key.clone();
        self.effects().inbox.send(Event::CancelKey { request, idempotency_key, reason, grace }).await;
        match answer.await.map_err(|_| LookupError::from(Stopped))? {
            Ok(status) => Ok(status),
            Err(CancelError::UnknownJob { job }) => Ok(self.status(job).await?),
            Err(CancelError::UnknownKey { .. }) => Err(CancelFailure::UnknownKey { key }),
        }
    }
}
