//! The tokens that this process shows: derived where the cluster's secret is known, told by the coordinator elsewhere.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, OnceLock, PoisonError},
};

use penstock_protocol::{
    ids::JobId,
    token::{ClusterSecret, JobToken},
};

/// Jobs whose tokens are remembered; far more than a process works for at a time. The oldest is forgotten first.
const JOBS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Tokens {
    secret: OnceLock<ClusterSecret>,
    granted: Mutex<Granted>,
}

#[derive(Debug, Default)]
struct Granted {
    tokens: HashMap<JobId, JobToken>,
    order: VecDeque<JobId>,
}

impl Tokens {
    pub fn derive_from(&self, secret: ClusterSecret) {
        // A process has one secret; a second call could only repeat it.
        let _ = self.secret.set(secret);
    }

    pub fn grant(&self, job: JobId, token: JobToken) {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if granted.tokens.insert(job, token).is_some() {
            return;
        }
        granted.order.push_back(job);
        if granted.order.len() > JOBS_MAX
            && let Some(oldest) = granted.order.pop_front()
        {
            granted.tokens.remove(&oldest);
        }
    }

    /// None is a token too: where the service asks for none, it fits.
    pub fn of(&self, job: JobId) -> JobToken {
        if let Some(secret) = self.secret.get() {
            return secret.job_token(job);
        }
        let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.tokens.get(&job).copied().unwrap_or(JobToken::NONE)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_tokens_of_many_jobs_are_forgotten_in_the_order_in_which_they_came() {
        let tokens = Tokens::default();
        let token = JobToken::from_bytes([1; 16]);
        let job = |number: usize| JobId(Uuid::from_u128(number as u128));
        for number in 0..=JOBS_MAX {
            tokens.grant(job(number), token);
            tokens.grant(job(number), token);
        }
        assert_eq!(tokens.of(job(0)), JobToken::NONE);
        assert_eq!(tokens.of(job(1)), token);
        assert_eq!(tokens.of(job(JOBS_MAX)), token);
    }
}
