//! One partition of a stage: pending, tried, won.
//!
//! The winner is set once for each run of the stage, together with what it wrote. Numbers of attempts grow for ever, over
//! all runs; failures that count against the budget, and losses of executors that do not, are counted apart.

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    ids::{AttemptNumber, ExecutorId, ShuffleId, TaskIndex},
    task::{Failure, TaskOutput},
};

use super::{
    Limits,
    attempt::{Attempt, Host},
    status::{AttemptState, TaskStatus},
};

#[derive(Debug)]
pub struct Task {
    next_attempt: u32,
    failures: u32,
    losses: u32,
    attempts: Vec<Attempt>,
    winner: Option<(AttemptNumber, TaskOutput)>,
    /// Since when it waits for a slot.
    pub pending_since: Timestamp,
}

/// What follows from the end of an attempt for its task.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Nothing: the report came late or twice, or another attempt goes on.
    Ignored,
    Won,
    /// Run it again, not before this time.
    Again(Timestamp),
    /// No further attempt can help or may be made.
    GiveUp(Failure),
    /// No further attempt can help before the stage that wrote this shuffle has run again.
    ShuffleLost {
        shuffle: ShuffleId,
        reason: String,
    },
}

impl Task {
    pub fn new(now: Timestamp) -> Self {
        Self {
            next_attempt: 0,
            failures: 0,
            losses: 0,
            attempts: Vec::new(),
            winner: None,
            pending_since: now,
        }
    }

    pub fn start(&mut self, now: Timestamp, run: u32, host: Host) -> AttemptNumber {
        assert!(self.winner.is_none(), "a task that is won is not run again");
        let number = AttemptNumber(self.next_attempt);
        self.next_attempt += 1;
        self.attempts.push(Attempt::start(now, number, run, host));
        number
    }

    /// The attempt, if it is this host's.
    pub fn attempt(&mut self, number: AttemptNumber, host: &Host) -> Option<&mut Attempt> {
        self.attempts.iter_mut().rev().find(|attempt| attempt.number == number && attempt.host == *host)
    }

    pub fn succeed(
        &mut self,
        now: Timestamp,
        number: AttemptNumber,
        host: &Host,
        output: TaskOutput,
    ) -> Verdict {
        let Some(attempt) = self.attempt(number, host) else { return Verdict::Ignored };
        let counts = attempt.is_running();
        attempt.end(now, if counts { AttemptState::Succeeded } else { AttemptState::Cancelled }, None);
        if !counts || self.winner.is_some() {
            return Verdict::Ignored;
        }
        self.winner = Some((number, output));
        Verdict::Won
    }

    pub fn fail(
        &mut self,
        now: Timestamp,
        number: AttemptNumber,
        host: &Host,
        failure: Failure,
        limits: &Limits,
    ) -> Verdict {
        let Some(attempt) = self.attempt(number, host) else { return Verdict::Ignored };
        let counts = attempt.is_running();
        attempt.end(now, AttemptState::Failed, Some(failure.message.clone()));
        if !counts || self.winner.is_some() {
            return Verdict::Ignored;
        }
        self.failures += 1;
        if !failure.class.retry_may_help() || self.failures >= limits.task_failures_max {
            return Verdict::GiveUp(failure);
        }
        if self.is_running() { Verdict::Ignored } else { self.again(now + limits.retry_delay(self.failures)) }
    }

    /// The attempt ended through no fault of the task.
    pub fn lose(
        &mut self,
        now: Timestamp,
        number: AttemptNumber,
        host: &Host,
        state: AttemptState,
        failure: Failure,
        limits: &Limits,
    ) -> Verdict {
        let Some(attempt) = self.attempt(number, host) else { return Verdict::Ignored };
        let counts = attempt.is_running();
        attempt.end(now, state, Some(failure.message.clone()));
        if !counts || self.winner.is_some() {
            return Verdict::Ignored;
        }
        self.losses += 1;
        match self.losses > limits.task_losses_max {
            true => Verdict::GiveUp(failure),
            false if self.is_running() => Verdict::Ignored,
            false => self.again(now),
        }
    }

    /// The attempt ended because the data of `shuffle`, which it read or wrote, is gone. Does not count against the budget.
    pub fn interrupt(
        &mut self,
        now: Timestamp,
        number: AttemptNumber,
        host: &Host,
        failure: &Failure,
        shuffle: ShuffleId,
    ) -> Verdict {
        let Some(attempt) = self.attempt(number, host) else { return Verdict::Ignored };
        let counts = attempt.is_running();
        attempt.interrupt(now, failure.message.clone());
        match counts && self.winner.is_none() {
            true => Verdict::ShuffleLost { shuffle, reason: reason_of(failure, shuffle) },
            false => Verdict::Ignored,
        }
    }

    /// No attempt that runs counts any more. Gives those that have to be told.
    pub fn stop(&mut self) -> impl Iterator<Item = (AttemptNumber, Host)> {
        let stopped = self.attempts.iter_mut().filter_map(|attempt| attempt.stop().then_some(attempt));
        stopped.map(|attempt| (attempt.number, attempt.host.clone()))
    }

    /// A new run of the stage begins: nobody has won, nothing has failed.
    pub fn start_over(&mut self) {
        self.winner = None;
        self.failures = 0;
        self.losses = 0;
    }

    fn again(&mut self, at: Timestamp) -> Verdict {
        self.pending_since = at;
        Verdict::Again(at)
    }

    fn is_running(&self) -> bool {
        self.attempts.iter().any(Attempt::is_running)
    }

    pub fn winner(&self) -> Option<&(AttemptNumber, TaskOutput)> {
        self.winner.as_ref()
    }

    /// Lets go of what the winner wrote, once nobody needs it; who won stays known.
    pub fn drop_output(&mut self) {
        if let Some((_, output)) = &mut self.winner {
            *output = TaskOutput::Files(Vec::new());
        }
    }

    /// Executors on which it failed or was lost, to be tried last; the latest one at the end.
    pub fn avoid(&self) -> Vec<ExecutorId> {
        let mut avoid: Vec<ExecutorId> = Vec::new();
        for attempt in &self.attempts {
            if attempt.speaks_against_host() {
                avoid.retain(|executor| *executor != attempt.host.executor);
                avoid.push(attempt.host.executor.clone());
            }
        }
        avoid
    }

    pub fn attempts_failed(&self) -> u32 {
        self.failures
    }

    pub fn status(&self, task: TaskIndex) -> TaskStatus {
        TaskStatus {
            task,
            winner: self.winner.as_ref().map(|(number, _)| *number),
            attempts: self.attempts.iter().map(Attempt::status).collect(),
        }
    }
}

/// What was lost, without the shuffle's id, which people who read about the stage do not need.
fn reason_of(failure: &Failure, shuffle: ShuffleId) -> String {
    let lost = format!("shuffle {shuffle} is lost: ");
    let reason = failure.message.split_once(&lost).map(|(_, reason)| reason);
    reason.unwrap_or(&failure.message).to_owned()
}
