//! Submissions, cancels, leases, and who may start.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{Event as LogEvent, JobState},
    ids::{JobId, ShuffleId},
    shuffle::ShuffleTarget,
};

use super::{
    Coordinator, DEFAULT_QUEUE, Entry,
    signs_of_life::SIGN_OF_LIFE_EVERY,
    submission::{Decision, Holder, decide},
};
use crate::{
    effect::{Accepted, CancelError, Effect, SubmitError},
    event::{RequestId, StoredKey},
    job::{End, Job, JobFailure, JobSpec},
    outbox::Outbox,
};

impl Coordinator {
    pub(super) fn submit(
        &mut self,
        request: RequestId,
        id: JobId,
        spec: JobSpec,
        stored: Option<StoredKey>,
        out: &mut Outbox,
    ) {
        let answer = self.accept(id, spec, stored, out);
        out.push(Effect::AnswerSubmit { request, answer });
    }

    fn accept(
        &mut self,
        id: JobId,
        spec: JobSpec,
        stored: Option<StoredKey>,
        out: &mut Outbox,
    ) -> Result<Accepted, SubmitError> {
        // The same call delivered twice is one submission.
        if self.jobs.contains_key(&id) {
            return Ok(self.reattach(id, out.now));
        }
        let queue = self.queue_of(&spec)?;
        match decide(self.holder(&spec, stored))? {
            Decision::Reattach(holder) if self.jobs.contains_key(&holder.job) => {
                Ok(self.reattach(holder.job, out.now))
            }
            Decision::Reattach(Holder { job, try_number, state, .. }) => {
                let definition_hash = spec.definition_hash();
                Ok(Accepted { job, try_number, state, reattached: true, definition_hash })
            }
            Decision::Start { try_number, continues, after } => {
                if self.active.len() >= self.options.active_jobs_max {
                    return Err(SubmitError::TooManyJobs { active: self.active.len() });
                }
                let after = after.or_else(|| self.fence(&spec, id, out));
                let job = Job::submit(id, spec, try_number, continues, self.options.results_ttl, out);
                Ok(self.enter(job, queue, after, out.now))
            }
        }
    }

    fn queue_of(&self, spec: &JobSpec) -> Result<String, SubmitError> {
        let queue = if spec.queue.is_empty() { DEFAULT_QUEUE } else { &spec.queue };
        match self.options.queues.contains_key(queue) {
            true => Ok(queue.to_owned()),
            false => Err(SubmitError::UnknownQueue {
                queue: queue.to_owned(),
                known: self.options.queues.keys().cloned().collect(),
            }),
        }
    }

    /// The job that has the submission's key: in memory, or else in the store.
    fn holder(&self, spec: &JobSpec, stored: Option<StoredKey>) -> Option<Holder> {
        let key = spec.idempotency_key.as_ref()?;
        if let Some(entry) = self.keys.get(key).and_then(|job| self.jobs.get(job)) {
            let job = &entry.job;
            return Some(Holder {
                job: job.id,
                try_number: job.try_number,
                state: job.state(),
                is_ending: job.is_ending(),
                differs: job.spec.differences(spec),
            });
        }
        let stored = stored?;
        // A job that is active in the store alone belonged to a former life of the coordinator.
        let state = if stored.state.is_terminal() { stored.state } else { JobState::Failed };
        let differs = (stored.definition_hash != spec.definition_hash()).then_some("definition");
        let differs = differs.into_iter().collect();
        Some(Holder { job: stored.job, try_number: stored.try_number, state, is_ending: false, differs })
    }

    /// A newer job of the same scope ends the older one. Gives the older one if it is not over at once.
    fn fence(&mut self, spec: &JobSpec, newer: JobId, out: &mut Outbox) -> Option<JobId> {
        let older = *self.scopes.get(spec.scope_key.as_ref()?)?;
        let entry = self.jobs.get_mut(&older).filter(|entry| !entry.job.is_over())?;
        entry.job.end(End::cancelled(format!("job {newer} of the same scope replaces it")), out);
        self.touched.insert(older);
        (!self.jobs[&older].job.is_over()).then_some(older)
    }

    fn enter(&mut self, job: Job, queue: String, after: Option<JobId>, now: Timestamp) -> Accepted {
        let (id, priority) = (job.id, job.spec.priority);
        if let Some(key) = &job.spec.idempotency_key {
            self.keys.insert(key.clone(), id);
        }
        if let Some(scope) = &job.spec.scope_key {
            self.scopes.insert(scope.clone(), id);
        }
        let accepted = Accepted {
            job: id,
            try_number: job.try_number,
            state: job.state(),
            reattached: false,
            definition_hash: job.definition_hash.clone(),
        };
        let lease_expires_at = job.lease().map(|lease| now + lease);
        let sign_of_life_at = now + SIGN_OF_LIFE_EVERY;
        self.jobs.insert(id, Entry { job, queue, lease_expires_at, cancel_at: None, after, sign_of_life_at });
        self.active.insert(id);
        self.queued.insert((Reverse(priority), id));
        self.touched.insert(id);
        self.may_admit = true;
        accepted
    }

    fn reattach(&mut self, id: JobId, now: Timestamp) -> Accepted {
        self.renew_lease(id, now);
        let entry = self.jobs.get_mut(&id).expect("the caller saw it");
        entry.cancel_at = None;
        Accepted {
            job: id,
            try_number: entry.job.try_number,
            state: entry.job.state(),
            reattached: true,
            definition_hash: entry.job.definition_hash.clone(),
        }
    }

    pub(super) fn renew_lease(&mut self, id: JobId, now: Timestamp) {
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.lease_expires_at = entry.job.lease().map(|lease| now + lease);
        }
    }

    pub(super) fn cancel(
        &mut self,
        request: Option<RequestId>,
        id: JobId,
        reason: String,
        grace: Duration,
        out: &mut Outbox,
    ) {
        let answer = self.cancel_job(id, reason, grace, out);
        if let Some(request) = request {
            let answer = answer.and_then(|()| self.status(id).ok_or(CancelError::UnknownJob { job: id }));
            out.push(Effect::AnswerCancel { request, answer });
        }
    }

    fn cancel_job(
        &mut self,
        id: JobId,
        reason: String,
        grace: Duration,
        out: &mut Outbox,
    ) -> Result<(), CancelError> {
        let entry = self.jobs.get_mut(&id).ok_or(CancelError::UnknownJob { job: id })?;
        if entry.job.is_over() {
            return Ok(());
        }
        match grace.is_zero() {
            true => entry.job.end(End::cancelled(reason), out),
            false => {
                // The earlier of two cancels holds.
                let at = out.now + grace;
                if entry.cancel_at.as_ref().is_none_or(|(earlier, _)| at < *earlier) {
                    entry.cancel_at = Some((at, reason));
                }
            }
        }
        self.touched.insert(id);
        self.publish(id, out);
        Ok(())
    }

    pub(super) fn cancel_key(
        &mut self,
        request: RequestId,
        key: String,
        reason: String,
        grace: Duration,
        out: &mut Outbox,
    ) {
        let job = self.keys.get(&key).copied().filter(|job| self.active.contains(job));
        match job {
            Some(job) => self.cancel(Some(request), job, reason, grace, out),
            None => out.push(Effect::AnswerCancel { request, answer: Err(CancelError::UnknownKey { key }) }),
        }
    }

    /// Room that was reserved for a job that is gone is given back at once.
    pub(super) fn shuffle_reserved(
        &mut self,
        shuffle: ShuffleId,
        outcome: Result<Arc<ShuffleTarget>, JobFailure>,
        out: &mut Outbox,
    ) {
        let is_wanted = self.jobs.get(&shuffle.job).is_some_and(|entry| !entry.job.is_over());
        match is_wanted {
            true => self.with_job(shuffle.job, |job, limits| job.reserved(shuffle, outcome, limits, out)),
            false if outcome.is_ok() => {
                self.late_reservation(shuffle, out);
            }
            false => {}
        }
    }

    fn late_reservation(&self, shuffle: ShuffleId, out: &mut Outbox) {
        let keeps = self.jobs.get(&shuffle.job).is_some_and(|entry| entry.job.keeps(shuffle));
        if !keeps {
            out.push(Effect::ReleaseShuffles { job: shuffle.job, shuffles: vec![shuffle] });
        }
    }

    /// Starts queued jobs as far as their queues and owners may run more.
    pub(super) fn admit(&mut self, out: &mut Outbox) {
        let mut running = Running::default();
        for id in &self.active {
            let entry = &self.jobs[id];
            if !entry.job.is_queued() {
                running.add(entry);
            }
        }
        for (priority, id) in self.queued.iter().copied().collect::<Vec<_>>() {
            if !self.may_start(id, &running) {
                continue;
            }
            self.queued.remove(&(priority, id));
            let entry = self.jobs.get_mut(&id).expect("queued jobs are known");
            entry.job.admit(out);
            running.add(entry);
            self.touched.insert(id);
            self.log_executors_to(id, out);
        }
    }

    fn may_start(&mut self, id: JobId, running: &Running) -> bool {
        let after = self.jobs[&id].after;
        let is_free = after.is_none_or(|after| self.jobs.get(&after).is_none_or(|entry| entry.job.is_over()));
        let entry = self.jobs.get_mut(&id).expect("queued jobs are known");
        if !is_free {
            return false;
        }
        entry.after = None;
        let queue = running.queues.get(&entry.queue).copied().unwrap_or(0);
        let user = running.users.get(&entry.job.spec.owner).copied().unwrap_or(0);
        queue < self.options.queues[&entry.queue].jobs_max && user < self.options.user_jobs_max
    }

    pub(super) fn log_to_running_jobs(&self, event: &LogEvent, out: &mut Outbox) {
        for id in &self.active {
            if !self.jobs[id].job.is_queued() {
                out.log(*id, event.clone());
            }
        }
    }
}

/// Jobs that run, by what limits them. Jobs without an owner share one limit.
#[derive(Default)]
struct Running {
    queues: BTreeMap<String, u32>,
    users: BTreeMap<Option<String>, u32>,
}

impl Running {
    fn add(&mut self, entry: &Entry) {
        *self.queues.entry(entry.queue.clone()).or_default() += 1;
        *self.users.entry(entry.job.spec.owner.clone()).or_default() += 1;
    }
}
