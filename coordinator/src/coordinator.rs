//! The owner of all state: `step(now, event) -> effects`.
//!
//! No I/O, no clock: the caller passes `now` and carries the effects out in order. Equal events give equal effects.
//! Reading order: `step`, then `clients`, `fleet` (executors) and `dispatch` (slots); what a job does with its answers
//! is in [`crate::job`]. Not here: planning, shuffles, files; the shell does those when an effect asks.

mod clients;
mod dispatch;
mod fleet;
mod options;
mod signs_of_life;
mod submission;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::JobState,
    ids::{JobId, StageId},
};

pub use options::{DEFAULT_QUEUE, Options, QueueOptions};

use crate::{
    effect::Effect,
    event::Event,
    executors::Executors,
    job::{End, ExecutorStatus, Job, JobFailure, JobStatus, Limits, StageStatus, TaskStatus},
    outbox::Outbox,
    store::JobRecord,
};
use penstock_protocol::task::FailureClass;

/// How often [`Event::Tick`] is wanted.
pub const TICK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Coordinator {
    options: Options,
    executors: Executors,
    /// Active jobs and those that ended not long ago.
    jobs: BTreeMap<JobId, Entry>,
    active: BTreeSet<JobId>,
    /// Active jobs that wait for admission, as they are admitted.
    queued: BTreeSet<(Reverse<i32>, JobId)>,
    /// Ended jobs by when they are forgotten.
    ended: BTreeSet<(Timestamp, JobId)>,
    /// The newest job of each idempotency key and of each scope, as far as it is in `jobs`.
    keys: HashMap<String, JobId>,
    scopes: HashMap<String, JobId>,
    /// Jobs that this step has to look at again.
    touched: BTreeSet<JobId>,
    /// Slots or tasks may fit together that did not before.
    may_dispatch: bool,
    may_admit: bool,
}

/// A job with what clients and queues make of it.
#[derive(Debug)]
struct Entry {
    job: Job,
    queue: String,
    lease_expires_at: Option<Timestamp>,
    /// A cancel with grace, and its reason.
    cancel_at: Option<(Timestamp, String)>,
    /// A job that has to end before this one starts.
    after: Option<JobId>,
    /// When it has to show again that it lives.
    sign_of_life_at: Timestamp,
}

impl Coordinator {
    pub fn new(mut options: Options) -> Self {
        options.queues.entry(DEFAULT_QUEUE.to_owned()).or_default();
        Self {
            executors: Executors::new(options.executors.clone()),
            options,
            jobs: BTreeMap::new(),
            active: BTreeSet::new(),
            queued: BTreeSet::new(),
            ended: BTreeSet::new(),
            keys: HashMap::new(),
            scopes: HashMap::new(),
            touched: BTreeSet::new(),
            may_dispatch: false,
            may_admit: false,
        }
    }

    /// Applies one event.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        let mut out = Outbox::new(now);
        self.apply(event, &mut out);
        self.settle(&mut out);
        out.into_effects()
    }

    fn apply(&mut self, event: Event, out: &mut Outbox) {
        match event {
            Event::Submit { request, job, spec, stored } => self.submit(request, job, *spec, stored, out),
            Event::Cancel { request, job, reason, grace } => self.cancel(request, job, reason, grace, out),
            Event::CancelKey { request, idempotency_key, reason, grace } => {
                self.cancel_key(request, idempotency_key, reason, grace, out);
            }
            Event::Polled { job } => self.renew_lease(job, out.now),
            Event::ScriptPrepared { job, outcome } => self.with_job(job, |job, _| job.prepared(outcome, out)),
            Event::StatementPlanned { job, statement, outcome } => {
                self.with_job(job, |job, _| job.planned(statement, outcome, out));
            }
            Event::ShuffleReserved { shuffle, outcome } => self.shuffle_reserved(shuffle, outcome, out),
            Event::ShuffleCommitted { shuffle, outcome } => {
                self.with_job(shuffle.job, |job, limits| job.committed(shuffle, outcome, limits, out));
            }
            Event::ShuffleExtended { shuffle, wanted, outcome } => {
                self.with_job(shuffle.job, |job, _| job.extended(shuffle, &wanted, outcome, out));
            }
            Event::WorkersLeaving { workers } => self.workers_leave(&workers, out),
            Event::EpochsWanted { executor, incarnation, request } => {
                self.epochs_wanted(crate::job::Host { executor, incarnation }, request, out);
            }
            Event::ExecutorConnected { executor, incarnation, host, slots, running } => {
                self.executor_connected(
                    crate::job::Host { executor, incarnation },
                    host,
                    slots,
                    running,
                    out,
                );
            }
            Event::ExecutorHeartbeat { executor, incarnation, heartbeat } => {
                self.executor_beat(&crate::job::Host { executor, incarnation }, &heartbeat, out);
            }
            Event::ExecutorDraining { executor, incarnation } => {
                self.executor_draining(&crate::job::Host { executor, incarnation }, out);
            }
            Event::ExecutorDisconnected { executor, incarnation, reason } => {
                self.executor_disconnected(&crate::job::Host { executor, incarnation }, &reason, out);
            }
            Event::AttemptReported { executor, incarnation, report } => {
                self.attempt_reported(&crate::job::Host { executor, incarnation }, *report, out);
            }
            Event::SinkPublished { job, statement, outcome } => {
                self.with_job(job, |job, _| job.sink_published(statement, outcome, out));
            }
            Event::CatalogApplied { job, statement, outcome } => {
                self.with_job(job, |job, _| job.catalog_applied(statement, outcome, out));
            }
            Event::StoodStill { duration } => self.forgive_silence(duration),
            Event::Tick => self.tick(out),
        }
    }

    /// Lets a job that is not over take part in something.
    fn with_job(&mut self, id: JobId, act: impl FnOnce(&mut Job, &Limits)) {
        let Some(entry) = self.jobs.get_mut(&id).filter(|entry| !entry.job.is_over()) else { return };
        act(&mut entry.job, &self.options.limits);
        self.touched.insert(id);
        self.may_dispatch = true;
    }

    /// Draws the conclusions of a step: who ended, who may start, what fits into free slots, what clients see.
    fn settle(&mut self, out: &mut Outbox) {
        let touched: Vec<_> = self.touched.iter().copied().collect();
        touched.into_iter().for_each(|id| self.retire_if_over(id, out.now));
        if std::mem::take(&mut self.may_admit) {
            self.admit(out);
        }
        if std::mem::take(&mut self.may_dispatch) {
            self.dispatch(out);
        }
        for id in std::mem::take(&mut self.touched) {
            self.publish(id, out);
        }
    }

    fn retire_if_over(&mut self, id: JobId, now: Timestamp) {
        let Some(entry) = self.jobs.get(&id).filter(|entry| entry.job.is_over()) else { return };
        if !self.active.remove(&id) {
            return;
        }
        let ttl = if entry.job.has_results() { self.options.results_ttl } else { self.options.details_ttl };
        self.queued.remove(&(Reverse(entry.job.spec.priority), id));
        self.ended.insert((now + ttl, id));
        self.may_admit = true;
    }

    /// Shows a job's visible changes to the store and to clients.
    fn publish(&mut self, id: JobId, out: &mut Outbox) {
        let waiting = self.waiting(id);
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        let Some(status) = entry.job.publish(waiting) else { return };
        if entry.job.reached_milestone() {
            out.push(Effect::UpdateJob(Box::new(JobRecord { status: status.clone() })));
        }
        out.push(Effect::PublishStatus(status));
    }

    fn waiting(&self, id: JobId) -> Option<String> {
        let entry = self.jobs.get(&id)?;
        if !entry.job.is_queued() {
            return entry.job.waits_for(|| self.executors.shortage());
        }
        Some(match entry.after {
            Some(other) => format!("job {other}, which this one replaces, has to end first"),
            None => format!("queue `{}` or the job's owner runs as many jobs as it may", entry.queue),
        })
    }

    fn tick(&mut self, out: &mut Outbox) {
        let now = out.now;
        self.expire_executors(out);
        for id in self.active.iter().copied().collect::<Vec<_>>() {
            self.tick_job(id, out);
        }
        self.give_signs_of_life(out);
        self.forget_ended(now, out);
    }

    fn forgive_silence(&mut self, duration: Duration) {
        self.executors.extend_leases(duration);
        for id in &self.active {
            let entry = self.jobs.get_mut(id).expect("active jobs are known");
            entry.lease_expires_at = entry.lease_expires_at.map(|at| at + duration);
        }
    }

    fn tick_job(&mut self, id: JobId, out: &mut Outbox) {
        let entry = self.jobs.get_mut(&id).expect("active jobs are known");
        let now = out.now;
        if let Some(end) = entry.overdue(now) {
            self.touched.insert(id);
            return entry.job.end(end, out);
        }
        if entry.job.tick(now, out) {
            self.may_dispatch = true;
            self.touched.insert(id);
        }
    }

    fn forget_ended(&mut self, now: Timestamp, out: &mut Outbox) {
        let max = self.options.ended_jobs_max;
        while self.ended.first().is_some_and(|(at, _)| *at <= now) || self.ended.len() > max {
            let (_, id) = self.ended.pop_first().expect("just seen");
            let entry = self.jobs.remove(&id).expect("ended jobs are known");
            entry.job.forget(out);
            let spec = &entry.job.spec;
            remove_if(&mut self.keys, spec.idempotency_key.as_ref(), id);
            remove_if(&mut self.scopes, spec.scope_key.as_ref(), id);
        }
    }

    // What clients ask.

    pub fn status(&self, job: JobId) -> Option<Arc<JobStatus>> {
        self.jobs.get(&job).map(|entry| entry.job.status())
    }

    pub fn stages(&self, job: JobId) -> Option<Vec<StageStatus>> {
        self.jobs.get(&job).map(|entry| entry.job.stage_statuses())
    }

    pub fn tasks(&self, job: JobId, stage: StageId) -> Option<Vec<TaskStatus>> {
        self.jobs.get(&job)?.job.task_statuses(stage)
    }

    pub fn executors(&self) -> Vec<ExecutorStatus> {
        self.executors.statuses()
    }

    /// Jobs that are queued or running, the oldest first: those whose shuffles must be kept alive.
    pub fn active_jobs(&self) -> Vec<JobId> {
        self.active.iter().copied().collect()
    }

    /// Jobs that are active or whose results are still kept.
    pub fn remembered_jobs(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }
}

impl Entry {
    /// Why the job has to end now, if it has to.
    fn overdue(&self, now: Timestamp) -> Option<End> {
        if self.job.is_ending() {
            return None;
        }
        if let Some((_, reason)) = self.cancel_at.as_ref().filter(|(at, _)| *at <= now) {
            return Some(End::cancelled(reason.clone()));
        }
        if self.lease_expires_at.is_some_and(|at| at <= now) {
            return Some(End::cancelled("nobody asked for the job within its lease"));
        }
        self.job.times_out_at().filter(|at| *at <= now)?;
        let seconds = self.job.spec.timeout_seconds.unwrap_or_default();
        let message = format!("the job ran longer than its timeout of {seconds} s");
        let failure = JobFailure::new(FailureClass::Resources, message, Some("raise timeout_seconds"));
        Some(End { state: JobState::Failed, failure: Some(failure) })
    }
}

fn remove_if(index: &mut HashMap<String, JobId>, key: Option<&String>, job: JobId) {
    if let Some(key) = key.filter(|key| index.get(*key) == Some(&job)) {
        index.remove(key);
    }
}

#[cfg(test)]
mod tests;
