//! One try of a task: runs, then ends once.

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    ids::{AttemptNumber, ExecutorId, Incarnation},
    task::AttemptMetrics,
};

use super::status::{AttemptState, AttemptStatus};

/// Where an attempt runs or ran: one life of an executor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    pub executor: ExecutorId,
    pub incarnation: Incarnation,
}

#[derive(Debug)]
pub struct Attempt {
    pub number: AttemptNumber,
    pub host: Host,
    pub state: AttemptState,
    /// The run of the stage that it works for.
    run: u32,
    /// Its end says nothing against its executor.
    blameless: bool,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    failure: Option<String>,
    /// Rows in and out so far.
    rows: (u64, u64),
    metrics: Option<Box<AttemptMetrics>>,
}

impl Attempt {
    pub fn start(now: Timestamp, number: AttemptNumber, run: u32, host: Host) -> Self {
        Self {
            number,
            host,
            state: AttemptState::Running,
            run,
            blameless: false,
            started_at: now,
            finished_at: None,
            failure: None,
            rows: (0, 0),
            metrics: None,
        }
    }

    /// Whether it can still report something that counts.
    pub fn is_running(&self) -> bool {
        self.state == AttemptState::Running
    }

    /// Whether its executor has not said yet that it ended.
    pub fn holds_slot(&self) -> bool {
        matches!(self.state, AttemptState::Running | AttemptState::Stopping)
    }

    /// Its report no longer counts.
    pub fn stop(&mut self) -> bool {
        let was_running = self.is_running();
        if was_running {
            self.state = AttemptState::Stopping;
        }
        was_running
    }

    /// Ends it; false if it had ended before.
    pub fn end(&mut self, now: Timestamp, state: AttemptState, failure: Option<String>) -> bool {
        if !self.holds_slot() {
            return false;
        }
        self.state = state;
        self.finished_at = Some(now);
        self.failure = failure;
        true
    }

    /// It got on, says its executor. Sayings may overtake each other.
    pub fn advance(&mut self, rows_in: u64, rows_out: u64) {
        if self.is_running() {
            self.rows = (self.rows.0.max(rows_in), self.rows.1.max(rows_out));
        }
    }

    /// Ends it because shuffle data was gone; false if it had ended before.
    pub fn interrupt(&mut self, now: Timestamp, failure: String) -> bool {
        self.blameless = true;
        self.end(now, AttemptState::Failed, Some(failure))
    }

    /// Whether another executor should try next.
    pub fn speaks_against_host(&self) -> bool {
        !self.blameless && matches!(self.state, AttemptState::Failed | AttemptState::Lost)
    }

    /// Keeps what it used, without the operators: those are in the event log.
    pub fn keep_metrics(&mut self, metrics: &AttemptMetrics) {
        let operators = Vec::new();
        self.rows = (metrics.rows_in, metrics.rows_out);
        self.metrics = Some(Box::new(AttemptMetrics { operators, ..metrics.clone() }));
    }

    pub fn status(&self) -> AttemptStatus {
        AttemptStatus {
            attempt: self.number,
            run: self.run,
            executor: self.host.executor.clone(),
            state: self.state,
            started_at: self.started_at,
            finished_at: self.finished_at,
            failure: self.failure.clone(),
            rows_in: self.rows.0,
            rows_out: self.rows.1,
            metrics: self.metrics.clone(),
        }
    }
}
