//! What happened in a run: the log that two runs of one seed must share, and what invariants are checked against.
//!
//! Everything is written here in the order in which it happens, which is one order: a simulation has one thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use penstock_coordinator::{job::JobStatus, journal::Fact, store::Write};
use penstock_protocol::{
    event::JobState,
    ids::{AttemptId, JobId},
    shuffle::Location,
};
use sha2::{Digest, Sha256};

use crate::{exercise::Feature, faults::Kind, topology::Host};

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

#[derive(Debug)]
pub struct Record {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now_ms: u64,
    digest: Sha256,
    /// None if nobody wants to read it.
    lines: Option<Vec<String>>,
    seen: Seen,
}

/// What the invariants look at.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub faults: Vec<Fault>,
    pub exercised: BTreeMap<Feature, u64>,
    pub violations: Vec<Violation>,
    /// Facts of each job in the order in which they were stored, with their times.
    pub journal: BTreeMap<JobId, Vec<(u64, Fact)>>,
    /// Rows of each job in the order in which they were stored.
    pub statuses: BTreeMap<JobId, Vec<JobStatus>>,
    pub started: BTreeSet<AttemptId>,
    pub running: BTreeMap<AttemptId, String>,
    /// Hosts that die: what is dropped there comes in no order, so it is told in one when they are gone.
    pub dying: BTreeMap<String, BTreeSet<AttemptId>>,
    pub outcomes: Vec<Outcome>,
    pub accepted: Vec<Accepted>,
    /// Times at which the coordinator began a life.
    pub coordinator_lives: Vec<u64>,
}

/// Something went wrong.
#[derive(Debug, Clone)]
pub struct Fault {
    pub at_ms: u64,
    pub kind: Kind,
    /// Whom it befell; nobody if it was a message.
    pub hosts: BTreeSet<Host>,
}

/// What a submission was answered with.
#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    /// Position of its plan.
    pub plan: usize,
    pub job: JobId,
    pub try_number: u64,
    /// The job that the same client saw fail before.
    pub after: Option<JobId>,
}

/// How a job ended for its client.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Position of its plan.
    pub plan: usize,
    pub job: JobId,
    pub state: JobState,
    pub class: Option<String>,
    pub message: String,
    pub was_cancelled: bool,
    pub submitted_ms: u64,
    pub ended_ms: u64,
    /// The sorted rows of each statement, or why they could not be fetched.
    pub results: Vec<Result<Vec<u64>, String>>,
}

impl Record {
    pub fn new(keep_lines: bool) -> Self {
        let lines = keep_lines.then(Vec::new);
        let state = State { now_ms: 0, digest: Sha256::new(), lines, seen: Seen::default() };
        Self { state: Mutex::new(state) }
    }

    /// The driver says what time it is before each step.
    pub fn set_now(&self, now_ms: u64) {
        self.state().now_ms = now_ms;
    }

    pub fn now_ms(&self) -> u64 {
        self.state().now_ms
    }

    pub fn line(&self, text: fmt::Arguments<'_>) {
        self.state().line(text);
    }

    pub fn fault<'a>(
        &self,
        kind: Kind,
        hosts: impl IntoIterator<Item = &'a Host>,
        place: fmt::Arguments<'_>,
    ) {
        let mut state = self.state();
        let fault = Fault { at_ms: state.now_ms, kind, hosts: hosts.into_iter().cloned().collect() };
        state.seen.faults.push(fault);
        state.line(format_args!("fault {kind} {place}"));
    }

    pub fn exercised(&self, feature: Feature, times: u64) {
        if times > 0 {
            *self.state().seen.exercised.entry(feature).or_default() += times;
        }
    }

    pub fn violation(&self, invariant: &'static str, what: String) {
        let mut state = self.state();
        state.line(format_args!("VIOLATION {invariant}: {what}"));
        state.seen.violations.push(Violation { invariant, what });
    }

    pub fn coordinator_began(&self) {
        let mut state = self.state();
        let now = state.now_ms;
        state.seen.coordinator_lives.push(now);
    }

    pub fn stored(&self, write: &Write) {
        let mut state = self.state();
        let now = state.now_ms;
        match write {
            Write::InsertJob(record) | Write::UpdateJob(record) => {
                let status = &record.status;
                state.line(format_args!("store {} v{} {:?}", status.job, status.version, status.state));
                state.seen.statuses.entry(status.job).or_default().push(JobStatus::clone(status));
            }
            Write::Append { job, record } => {
                state.line(format_args!("journal {job} {}", short(&record.fact)));
                state.seen.journal.entry(*job).or_default().push((now, record.fact.clone()));
            }
        }
    }

    /// An executor begins to run an attempt.
    pub fn attempt_started(&self, attempt: AttemptId, executor: &str) {
        let dispatched = self.state().was_dispatched(attempt);
        if !dispatched {
            self.violation("journal-before-anyone-sees", format!("{attempt} runs and was not journaled"));
        }
        let mut state = self.state();
        state.line(format_args!("{executor} runs {attempt}"));
        state.seen.running.insert(attempt, executor.to_owned());
        let first = state.seen.started.insert(attempt);
        drop(state);
        if !first {
            self.violation("an-attempt-runs-once", format!("{attempt} was started again on {executor}"));
        }
    }

    pub fn attempt_gone(&self, attempt: AttemptId, how: &str) {
        let mut state = self.state();
        let host = state.seen.running.remove(&attempt);
        match host.and_then(|host| state.seen.dying.get_mut(&host)) {
            Some(dropped) => drop(dropped.insert(attempt)),
            None => state.line(format_args!("{attempt} {how}")),
        }
    }

    pub fn dies(&self, host: &str) {
        self.state().seen.dying.insert(host.to_owned(), BTreeSet::new());
    }

    /// Everything of it was dropped.
    pub fn is_gone(&self, host: &str) {
        let mut state = self.state();
        for attempt in state.seen.dying.remove(host).unwrap_or_default() {
            state.line(format_args!("{attempt} was dropped"));
        }
    }

    pub fn accepted(&self, accepted: Accepted) {
        let mut state = self.state();
        let Accepted { plan, job, try_number, .. } = accepted;
        state.line(format_args!("client {plan} got {job} try {try_number}"));
        state.seen.accepted.push(accepted);
    }

    pub fn ended(&self, outcome: Outcome) {
        let mut state = self.state();
        let Outcome { job, state: ended, .. } = &outcome;
        let failure = outcome.class.as_deref().unwrap_or_default();
        state.line(format_args!("client sees {job} {ended:?} {failure} {}", outcome.message));
        state.seen.outcomes.push(outcome);
    }

    pub fn running(&self) -> usize {
        self.state().seen.running.len()
    }

    /// Whether every job that the store knows has ended.
    pub fn all_ended(&self) -> bool {
        let ended = |statuses: &Vec<JobStatus>| statuses.last().is_some_and(|last| last.state.is_terminal());
        self.state().seen.statuses.values().all(ended)
    }

    pub fn seen(&self) -> Seen {
        self.state().seen.clone()
    }

    pub fn digest(&self) -> String {
        let digest = self.state().digest.clone().finalize();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn take_lines(&self) -> Vec<String> {
        self.state().lines.take().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn line(&mut self, text: fmt::Arguments<'_>) {
        let line = format!("{:>8.3} {text}", self.now_ms as f64 / 1000.0);
        self.digest.update(line.as_bytes());
        self.digest.update(b"\n");
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    fn was_dispatched(&self, attempt: AttemptId) -> bool {
        let facts = self.seen.journal.get(&attempt.task.job).into_iter().flatten();
        facts.rev().any(|(_, fact)| match fact {
            Fact::Dispatched { attempts } => attempts.iter().any(|dispatched| {
                let task = (dispatched.stage, dispatched.task, dispatched.attempt);
                task == (attempt.task.stage, attempt.task.index, attempt.number)
            }),
            _ => false,
        })
    }
}

/// A fact in one line: which one, and for whom.
fn short(fact: &Fact) -> String {
    match fact {
        Fact::Submitted { try_number, .. } => format!("submitted try {try_number}"),
        Fact::Prepared { statements } => format!("prepared {statements}"),
        Fact::Planned { statement, stages, .. } => format!("planned {statement}: {} stages", stages.len()),
        Fact::Reserved { target } => format!("reserved {}: {}", target.shuffle, placed(&target.locations)),
        Fact::Dispatched { attempts } => {
            let one = |attempt: &penstock_coordinator::journal::DispatchedAttempt| {
                format!("{}/{}#{}@{}", attempt.stage, attempt.task, attempt.attempt, attempt.executor)
            };
            format!("dispatched {}", attempts.iter().map(one).collect::<Vec<_>>().join(" "))
        }
        Fact::RunAgain { stage, run, reason } => format!("stage {stage} runs again as {run}: {reason}"),
        Fact::Extended { shuffle, locations } => format!("extended {shuffle}: {}", placed(locations)),
        Fact::Won { stage, task, attempt, .. } => format!("won {stage}/{task}#{attempt}"),
        Fact::Committed { shuffle, .. } => format!("committed {shuffle}"),
        Fact::StatementFinished { statement, rows } => format!("finished {statement}: {rows} rows"),
        Fact::CancelRequested { reason } => format!("cancel requested: {reason}"),
        Fact::Finished { state, .. } => format!("finished {state:?}"),
        other => format!("{other:?}").chars().take(200).collect(),
    }
}

/// Locations as `partition.epoch@worker+replica`.
fn placed(locations: &[Location]) -> String {
    let one = |location: &Location| {
        let workers: Vec<_> = location.workers().map(|worker| worker.worker.as_str()).collect();
        format!("{}.{}@{}", location.partition, location.epoch, workers.join("+"))
    };
    locations.iter().map(one).collect::<Vec<_>>().join(" ")
}
