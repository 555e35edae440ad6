//! What executors say, and what follows when they stop saying it.

use std::collections::BTreeSet;

use penstock_protocol::{
    event::Event as LogEvent,
    ids::{AttemptId, ExecutorId, JobId, WorkerId},
    task::{AttemptOutcome, AttemptReport},
    wire::executor::{EpochsRequest, Heartbeat, NodeSample},
};

use super::Coordinator;
use crate::{
    effect::Effect,
    executors::{Loss, Sampled},
    job::{Asker, Host, answer_epochs, shuffle_over},
    outbox::Outbox,
};

impl Coordinator {
    pub(super) fn executor_connected(
        &mut self,
        host: Host,
        address: String,
        slots: u32,
        running: Vec<AttemptId>,
        out: &mut Outbox,
    ) {
        let connection = self.executors.connect(out.now, &host, address.clone(), slots, running);
        if let Some(loss) = connection.replaced {
            self.executor_lost(loss, out);
        }
        for attempt in connection.missing {
            self.lose_attempt(&host, attempt, "its report went missing when the connection was cut", out);
        }
        for attempt in connection.unknown {
            let Host { executor, incarnation } = host.clone();
            out.push(Effect::CancelAttempt { executor, incarnation, attempt });
        }
        if connection.is_new {
            self.log_to_running_jobs(&joined(&host.executor, address, slots), out);
        }
        self.fleet_changed();
    }

    /// Every job may wait for something else now.
    fn fleet_changed(&mut self) {
        self.touched.extend(&self.active);
        self.may_dispatch = true;
    }

    /// Any sign of life. Somebody who is not one of ours has to say hello again.
    pub(super) fn executor_seen(&mut self, host: &Host, out: &mut Outbox) -> bool {
        let is_ours = self.executors.seen(out.now, host);
        if !is_ours {
            disconnect(host.clone(), "it is not known, or was declared lost", out);
        }
        is_ours
    }

    /// What an executor says in passing changes nothing that clients wait for.
    pub(super) fn executor_beat(&mut self, host: &Host, heartbeat: &Heartbeat, out: &mut Outbox) {
        if !self.executor_seen(host, out) {
            return;
        }
        for progress in &heartbeat.progress {
            if let Some(entry) = self.jobs.get_mut(&progress.attempt.task.job) {
                entry.job.advance(host, progress);
            }
        }
        if let Some(sampled) = self.executors.sampled(out.now, host, heartbeat.sample) {
            self.record_sample(&host.executor, &sampled, out);
        }
    }

    fn record_sample(&self, executor: &ExecutorId, sampled: &Sampled, out: &mut Outbox) {
        let NodeSample { cpu_used, memory_used_bytes, memory_limit_bytes, scratch_used_bytes } =
            sampled.sample;
        let event = LogEvent::ExecutorSampled {
            executor: executor.clone(),
            cpu_used,
            memory_used_bytes,
            memory_limit_bytes,
            scratch_used_bytes,
        };
        // Attempts of a job that has ended may still be stopping.
        for job in sampled.jobs.iter().filter(|job| self.active.contains(job)) {
            out.push(Effect::Sample { job: *job, at: out.now, event: event.clone() });
        }
    }

    pub(super) fn executor_draining(&mut self, host: &Host, out: &mut Outbox) {
        if self.executor_seen(host, out) {
            if self.executors.drain(host) {
                let executor = host.executor.clone();
                self.log_to_running_jobs(&LogEvent::ExecutorDraining { executor }, out);
            }
            self.fleet_changed();
        }
    }

    pub(super) fn executor_disconnected(&mut self, host: &Host, reason: &str, out: &mut Outbox) {
        if let Some(loss) = self.executors.disconnect(out.now, host, reason) {
            self.executor_lost(loss, out);
        }
        self.fleet_changed();
    }

    pub(super) fn expire_executors(&mut self, out: &mut Outbox) {
        for loss in self.executors.expire(out.now) {
            disconnect(loss.host.clone(), &loss.reason, out);
            self.executor_lost(loss, out);
        }
    }

    fn executor_lost(&mut self, loss: Loss, out: &mut Outbox) {
        let Loss { host, attempts, reason } = loss;
        self.log_to_running_jobs(
            &LogEvent::ExecutorLost { executor: host.executor.clone(), reason: reason.clone() },
            out,
        );
        for attempt in attempts {
            self.lose_attempt(&host, attempt, &reason, out);
        }
        self.fleet_changed();
    }

    fn lose_attempt(&mut self, host: &Host, attempt: AttemptId, reason: &str, out: &mut Outbox) {
        self.with_job(attempt.task.job, |job, limits| job.lose(host, attempt, reason, limits, out));
    }

    pub(super) fn attempt_reported(&mut self, host: &Host, report: AttemptReport, out: &mut Outbox) {
        if !self.executor_seen(host, out) {
            return;
        }
        let succeeded = matches!(report.outcome, AttemptOutcome::Succeeded(_));
        if self.executors.vacate(host, report.attempt, succeeded) {
            self.may_dispatch = true;
        }
        let attempt = report.attempt;
        self.with_job(attempt.task.job, |job, limits| job.report(host, report, limits, out));
        let Host { executor, incarnation } = host.clone();
        out.push(Effect::ReportTaken { executor, incarnation, attempt });
    }

    /// Answered whatever became of the job.
    pub(super) fn epochs_wanted(&mut self, host: Host, request: EpochsRequest, out: &mut Outbox) {
        if !self.executor_seen(&host, out) {
            return;
        }
        let EpochsRequest { request, shuffle, ended, suspects } = request;
        let asker = Asker { host, request, ended };
        match self.jobs.get(&shuffle.job).is_some_and(|entry| !entry.job.is_over()) {
            true => self.with_job(shuffle.job, |job, _| job.epochs_wanted(shuffle, asker, suspects, out)),
            false => answer_epochs(shuffle, shuffle_over(shuffle, asker), out),
        }
    }

    pub(super) fn workers_leave(&mut self, workers: &BTreeSet<WorkerId>, out: &mut Outbox) {
        for id in &self.active {
            let entry = self.jobs.get_mut(id).expect("active jobs are known");
            entry.job.workers_leave(workers, out);
        }
    }

    /// A job that starts begins its log with who is there.
    pub(super) fn log_executors_to(&self, job: JobId, out: &mut Outbox) {
        for (host, executor) in self.executors.iter() {
            out.log(job, joined(&host.executor, executor.host.clone(), executor.slots()));
        }
    }
}

fn joined(executor: &ExecutorId, host: String, slots: u32) -> LogEvent {
    LogEvent::ExecutorJoined { executor: executor.clone(), host, slots }
}

fn disconnect(host: Host, reason: &str, out: &mut Outbox) {
    let Host { executor, incarnation } = host;
    out.push(Effect::DisconnectExecutor { executor, incarnation, reason: reason.to_owned() });
}
