//! What the executor was given to do, and what it still owes the coordinator.
//!
//! In: orders, and attempts that ended. Out: running attempts and reports. Orders may come twice. Not here: the
//! connection; everything here goes on without one.

use penstock_common::lifecycle::{OnFailure, Tasks};
use penstock_protocol::{
    ids::AttemptId,
    task::{AttemptMetrics, AttemptOutcome, AttemptReport, Failure, FailureClass, TaskAssignment},
    wire::executor::{AttemptProgress, ToExecutor},
};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::{
    attempt::Attempts,
    metrics,
    reports::Reports,
    slots::{Admission, Running, Slots},
    stages::{Stage, Stages},
};

/// Undelivered reports; inline results are at most 1 MiB each.
const REPORTS_BYTES_MAX: usize = 64 << 20;

#[derive(Debug)]
pub struct Workload {
    slots: Slots,
    stages: Stages,
    reports: Reports,
    attempts: Attempts,
    /// Owns the running attempts.
    tasks: Tasks,
    ended: mpsc::Sender<AttemptReport>,
    draining: bool,
}

/// The attempts that ended, for [`Workload::ended`].
pub type Ended = mpsc::Receiver<AttemptReport>;

impl Workload {
    pub fn new(slots: u32, attempts: Attempts, tasks: Tasks) -> (Self, Ended) {
        let (ended, receiver) = mpsc::channel(slots.max(1) as usize);
        let workload = Self {
            slots: Slots::new(slots),
            stages: Stages::default(),
            reports: Reports::new(REPORTS_BYTES_MAX),
            attempts,
            tasks,
            ended,
            draining: false,
        };
        workload.publish();
        (workload, receiver)
    }

    /// Carries out one order. An answer is due at once if the attempt cannot even start.
    pub fn take(&mut self, order: ToExecutor) -> Option<&AttemptReport> {
        match order {
            ToExecutor::GrantJob(job, token) => self.attempts.runner.grant(job, token),
            ToExecutor::DefineStage(definition) => self.stages.define(*definition),
            ToExecutor::Run(task) => return self.start(*task),
            ToExecutor::Cancel(attempt) => self.slots.cancel(attempt),
            ToExecutor::ReportTaken(attempt) => self.reports.taken(attempt),
            ToExecutor::ForgetJob(job) => {
                self.slots.cancel_job(job);
                self.stages.forget(job);
                self.reports.forget(job);
            }
            ToExecutor::Welcome { .. } | ToExecutor::Refused { .. } | ToExecutor::Epochs { .. } => {
                debug!("an answer that nobody waits for is ignored")
            }
        }
        self.publish();
        None
    }

    fn start(&mut self, task: TaskAssignment) -> Option<&AttemptReport> {
        let attempt = task.attempt;
        if self.reports.contains(attempt) {
            return None;
        }
        if self.draining {
            // Handed back: the coordinator gives it to somebody else without counting a failure.
            return Some(self.refuse(attempt, AttemptOutcome::Cancelled));
        }
        let Some(stage) = self.stages.get(attempt.task.job, attempt.task.stage) else {
            let message = format!("stage {} was not defined to this executor", attempt.task.stage);
            return Some(self.refuse(attempt, failed(message)));
        };
        match self.slots.admit(attempt) {
            Admission::Admitted(running) => self.launch(stage, task, running),
            Admission::Repeated => {}
            Admission::Full => {
                let message = format!("all {} slots of this executor are taken", self.slots.total());
                return Some(self.refuse(attempt, failed(message)));
            }
        }
        None
    }

    fn launch(&mut self, stage: std::sync::Arc<Stage>, task: TaskAssignment, running: Running) {
        debug!(attempt = %task.attempt, "attempt starts");
        let (attempts, ended, stop) = (self.attempts.clone(), self.ended.clone(), self.tasks.stop_token());
        self.tasks.spawn("attempt", OnFailure::Log, async move {
            tokio::select! {
                biased;
                // The executor has left; nobody is there to report to.
                () = stop.cancelled() => Ok(()),
                report = attempts.run(stage, task, running) => ended.send(report).await,
            }
        });
        self.publish();
    }

    fn refuse(&mut self, attempt: AttemptId, outcome: AttemptOutcome) -> &AttemptReport {
        warn!(%attempt, ?outcome, "attempt refused");
        self.keep(AttemptReport { attempt, outcome, metrics: AttemptMetrics::default() })
    }

    /// An attempt is gone: its slot is free and its report is due.
    pub fn ended(&mut self, report: AttemptReport) -> &AttemptReport {
        self.slots.release(report.attempt);
        log_end(&report);
        metrics::attempt_ended(&report);
        self.keep(report)
    }

    fn keep(&mut self, report: AttemptReport) -> &AttemptReport {
        self.reports.keep(report);
        self.publish();
        self.reports.newest().expect("the newest report is never dropped")
    }

    /// Nothing more is started from now on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    pub fn is_draining(&self) -> bool {
        self.draining
    }

    pub fn cancel_all(&self) {
        self.slots.cancel_all();
    }

    /// A new connection begins: the coordinator defines stages again.
    pub fn reconnected(&mut self) {
        self.stages.clear_unused();
    }

    pub fn is_idle(&self) -> bool {
        self.slots.is_idle()
    }

    pub fn slots(&self) -> u32 {
        self.slots.total()
    }

    pub fn undelivered(&self) -> impl Iterator<Item = &AttemptReport> {
        self.reports.iter()
    }

    pub fn owes_nothing(&self) -> bool {
        self.reports.is_empty()
    }

    /// Attempts that run, and those whose reports may not have arrived.
    pub fn unfinished(&self) -> Vec<AttemptId> {
        self.slots.attempts().chain(self.reports.iter().map(|report| report.attempt)).collect()
    }

    pub fn progress(&self) -> Vec<AttemptProgress> {
        self.slots.progress()
    }

    fn publish(&self) {
        metrics::workload(self.slots.total(), self.slots.busy(), self.reports.len());
    }
}

fn failed(message: String) -> AttemptOutcome {
    AttemptOutcome::Failed(Failure {
        class: FailureClass::Infrastructure,
        message,
        advice: None,
        lost_shuffle: None,
    })
}

fn log_end(report: &AttemptReport) {
    let (attempt, run_ms) = (report.attempt, report.metrics.run_ms);
    match &report.outcome {
        AttemptOutcome::Succeeded(_) => debug!(%attempt, run_ms, "attempt succeeded"),
        AttemptOutcome::Failed(failure) => {
            warn!(%attempt, run_ms, class = ?failure.class, cause = %failure.message, "attempt failed");
        }
        AttemptOutcome::Cancelled => info!(%attempt, run_ms, "attempt cancelled"),
    }
}
