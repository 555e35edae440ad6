//! One attempt from start to report.
//!
//! It runs apart from everything else: a panic is its failure and nobody else's, and cancelling it drops its future,
//! which frees its memory and removes its spill files. Whatever happens there is exactly one report. Not here: slots,
//! delivery of reports.

use std::{sync::Arc, time::Duration};

use penstock_protocol::task::{
    AttemptMetrics, AttemptOutcome, AttemptReport, Failure, FailureClass, TaskAssignment,
};
use tokio::time::Instant;
use tracing::{Instrument, info_span, warn};

use crate::{
    runner::{Outcome, TaskRunner},
    runtime::{CpuRuntime, Work, WorkError},
    slots::Running,
    stages::Stage,
};

/// How long a cancelled attempt may hold on to its slot before it is given up.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// What runs attempts.
#[derive(Debug, Clone)]
pub struct Attempts {
    pub runner: Arc<dyn TaskRunner>,
    pub cpu: CpuRuntime,
}

impl Attempts {
    /// Runs one attempt to its end or until `running.cancel`.
    pub async fn run(self, stage: Arc<Stage>, task: TaskAssignment, running: Running) -> AttemptReport {
        let attempt = task.attempt;
        let started = Instant::now();
        let span = info_span!("attempt", job = %attempt.task.job, stage = %attempt.task.stage, task = %attempt.task.index,
            attempt = %attempt.number);
        let Running { cancel, progress } = running;
        let runner = self.runner;
        let run = async move {
            match stage.prepared(runner.as_ref()) {
                Ok(prepared) => prepared.run(task, progress).await,
                Err(failure) => (Err(failure), AttemptMetrics::default()),
            }
        };
        let mut work = self.cpu.run(run.instrument(span));
        let (outcome, mut metrics) = tokio::select! {
            biased;
            () = cancel.cancelled() => cancelled(work, &attempt).await,
            ended = &mut work => outcome(ended),
        };
        metrics.run_ms = metrics.run_ms.max(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        AttemptReport { attempt, outcome, metrics }
    }
}

async fn cancelled(
    work: Work<Outcome>,
    attempt: &impl std::fmt::Display,
) -> (AttemptOutcome, AttemptMetrics) {
    work.cancel();
    if tokio::time::timeout(CANCEL_GRACE, work).await.is_err() {
        warn!(%attempt, "a cancelled attempt does not yield; its slot is given to others all the same");
    }
    (AttemptOutcome::Cancelled, AttemptMetrics::default())
}

fn outcome(ended: Result<Outcome, WorkError>) -> (AttemptOutcome, AttemptMetrics) {
    match ended {
        Ok((Ok(output), metrics)) => (AttemptOutcome::Succeeded(output), metrics),
        Ok((Err(failure), metrics)) => (AttemptOutcome::Failed(failure), metrics),
        Err(WorkError::Panicked { message }) => {
            (AttemptOutcome::Failed(failure_of_panic(&message)), AttemptMetrics::default())
        }
        Err(WorkError::Cancelled) => (AttemptOutcome::Cancelled, AttemptMetrics::default()),
    }
}

/// A panic is a bug; another attempt may still succeed.
pub fn failure_of_panic(message: &str) -> Failure {
    Failure {
        class: FailureClass::Internal,
        message: format!("the attempt {message}"),
        advice: Some("this is a bug: please report it with the query and the executor's log".to_owned()),
        lost_shuffle: None,
    }
}

#[cfg(test)]
pub mod tests;
