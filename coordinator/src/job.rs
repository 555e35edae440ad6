//! A job and its parts as small state machines that only move forward.
//!
//! In: what was reported. Out: effects that follow from it for this job. Not here: executors, slots, other jobs.
//! Reading order: this file (life of a job), `sequence` (statements one after the other), `publication`, `running`
//! (attempts), `rerun` (what a lost shuffle costs), `stage`, `task`, `attempt`.

mod attempt;
mod exchange;
mod growing;
mod growth;
mod history;
mod limits;
mod publication;
mod rerun;
mod running;
mod sequence;
mod spec;
mod stage;
mod statement;
mod status;
mod task;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{self, JobState, JobTotals},
    ids::{ExecutorId, Incarnation, JobId, ShuffleId, StageId},
    task::FailureClass,
};

pub use attempt::Host;
pub use growing::{answer as answer_epochs, over as shuffle_over};
pub use growth::{Asker, Wanted};
pub use limits::Limits;
pub use spec::{
    AttemptTarget, FailurePlace, InlineRows, JobFailure, JobSpec, Outputs, ReadMode, StageOutput, StageSpec,
    StatementKind, StatementPlan, StatementResult, StatementText, StatementWork,
};
pub use status::{
    AttemptState, AttemptStatus, ExecutorState, ExecutorStatus, JobStatus, Progress, Rerun, StageState,
    StageStatus, StatementState, StatementStatus, TaskStatus,
};

use crate::{effect::Effect, journal::Fact, outbox::Outbox, store::JobRecord};
use stage::Stage;
use statement::Statement;

#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub spec: Arc<JobSpec>,
    pub definition_hash: String,
    pub try_number: u32,
    continues: Option<JobId>,
    phase: Phase,
    /// The wanted end of a job whose statement is just being published.
    stopping: Option<End>,
    submitted_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    /// The job's settings with the `SET`s of its script so far.
    settings: Arc<BTreeMap<String, String>>,
    statements: Vec<Statement>,
    /// The statement that is planned or run.
    current: usize,
    next_stage: StageId,
    stages: BTreeMap<StageId, Stage>,
    /// Stages with tasks that may run now.
    runnable: BTreeSet<StageId>,
    /// Runs of stages after their first.
    reruns: Vec<Rerun>,
    /// Executors that know stages of this job.
    hosts: BTreeMap<ExecutorId, Incarnation>,
    totals: JobTotals,
    failure: Option<JobFailure>,
    /// Results that are kept in the shuffle service.
    holds_shuffles: bool,
    /// When nobody had a slot for it although it has runnable tasks.
    pub starved_since: Option<Timestamp>,
    published: Option<Arc<JobStatus>>,
    /// State and finished statements as the store has them.
    stored: (JobState, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Queued,
    Preparing,
    Running,
    Ended(JobState),
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    pub state: JobState,
    pub failure: Option<JobFailure>,
}

impl End {
    pub fn failed(failure: JobFailure) -> Self {
        Self { state: JobState::Failed, failure: Some(failure) }
    }

    pub fn cancelled(reason: impl Into<String>) -> Self {
        let failure = JobFailure::new(FailureClass::Cancelled, reason, None);
        Self { state: JobState::Cancelled, failure: Some(failure) }
    }
}

impl Job {
    /// Takes a job in: journaled before anybody hears of it.
    pub fn submit(
        id: JobId,
        spec: JobSpec,
        try_number: u32,
        continues: Option<JobId>,
        out: &mut Outbox,
    ) -> Self {
        let mut job = Self {
            id,
            definition_hash: spec.definition_hash(),
            settings: Arc::new(spec.settings.clone()),
            spec: Arc::new(spec),
            try_number,
            continues,
            phase: Phase::Queued,
            stopping: None,
            submitted_at: out.now,
            started_at: None,
            finished_at: None,
            statements: Vec::new(),
            current: 0,
            next_stage: StageId(0),
            stages: BTreeMap::new(),
            runnable: BTreeSet::new(),
            reruns: Vec::new(),
            hosts: BTreeMap::new(),
            totals: JobTotals::default(),
            failure: None,
            holds_shuffles: false,
            starved_since: None,
            published: None,
            stored: (JobState::Queued, 0),
        };
        let status = job.publish(None).expect("the first status is a change");
        out.push(Effect::InsertJob(Box::new(JobRecord { status })));
        let spec = Box::new((*job.spec).clone());
        out.journal(id, Fact::Submitted { spec, try_number, continues });
        out.log(id, event::Event::JobSubmitted(job.submitted()));
        job
    }

    fn submitted(&self) -> event::JobSubmitted {
        let text =
            |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let setting = |value: &String| event::SettingValue { value: value.clone(), layer: "job".to_owned() };
        event::JobSubmitted {
            job: self.id,
            name: self.spec.name.clone(),
            script: self.spec.sql.clone(),
            parameters: self
                .spec
                .parameters
                .iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            settings: self.spec.settings.iter().map(|(key, value)| (key.clone(), setting(value))).collect(),
            labels: self.spec.labels.clone(),
            owner: self.spec.owner.clone(),
            client: self.spec.client.clone(),
            source: self.spec.source.clone(),
            try_number: self.try_number,
            continues: self.continues,
            build: penstock_protocol::build().to_owned(),
        }
    }

    /// Leaves the queue.
    pub fn admit(&mut self, out: &mut Outbox) {
        assert!(self.phase == Phase::Queued, "a job leaves its queue once");
        self.phase = Phase::Preparing;
        self.started_at = Some(out.now);
        out.log(self.id, event::Event::JobStarted {});
        out.push(Effect::PrepareScript { job: self.id, spec: self.spec.clone() });
    }

    pub fn state(&self) -> JobState {
        match self.phase {
            Phase::Queued => JobState::Queued,
            Phase::Preparing => JobState::Planning,
            Phase::Running if self.stages.is_empty() && self.current == 0 => JobState::Planning,
            Phase::Running => JobState::Running,
            Phase::Ended(state) => state,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    pub fn is_queued(&self) -> bool {
        self.phase == Phase::Queued
    }

    /// Whether its end is decided, be it reached or not.
    pub fn is_ending(&self) -> bool {
        self.is_over() || self.stopping.is_some()
    }

    /// When its timeout ends it.
    pub fn times_out_at(&self) -> Option<Timestamp> {
        let timeout = self.spec.timeout_seconds.filter(|seconds| *seconds > 0)?;
        Some(self.started_at? + Duration::from_secs(timeout))
    }

    /// How long a client's silence is endured.
    pub fn lease(&self) -> Option<Duration> {
        self.spec.lease_seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    /// Whether any of its results or output is still kept for readers.
    pub fn has_results(&self) -> bool {
        self.statements.iter().any(|statement| statement.has_result)
    }

    /// Ends the job, at once or as soon as what is being published is published.
    pub fn end(&mut self, end: End, out: &mut Outbox) {
        if self.is_ending() {
            return;
        }
        if end.state == JobState::Cancelled {
            let reason = end.failure.as_ref().map(|failure| failure.failure.message.clone());
            out.journal(self.id, Fact::CancelRequested { reason: reason.unwrap_or_default() });
        }
        match self.statements.get(self.current).is_some_and(Statement::is_publishing) {
            true => self.stopping = Some(end),
            false => self.finish(end, out),
        }
    }

    fn finish(&mut self, end: End, out: &mut Outbox) {
        assert!(!self.is_over(), "a job ends once");
        self.stop_statement(end.state, out);
        self.phase = Phase::Ended(end.state);
        self.finished_at = Some(out.now);
        self.failure = end.failure;
        self.starved_since = None;
        for (executor, incarnation) in std::mem::take(&mut self.hosts) {
            out.push(Effect::ForgetJob { executor, incarnation, job: self.id });
        }
        let failure = self.failure.clone();
        out.journal(self.id, Fact::Finished { state: end.state, failure: failure.clone() });
        let failure = failure.map(|failure| failure.failure);
        let finished = event::JobFinished { state: end.state, failure, totals: self.totals.clone() };
        out.log(self.id, event::Event::JobFinished(finished));
        if !self.holds_shuffles && self.stages.values().any(|stage| stage.asked_for_room) {
            out.push(Effect::ReleaseJob { job: self.id });
        }
    }

    /// Whether this shuffle holds a result that is kept.
    pub fn keeps(&self, shuffle: ShuffleId) -> bool {
        let source = self.stages.get(&shuffle.exchange).and_then(Stage::source);
        self.holds_shuffles && source.is_some_and(|source| source.shuffle == shuffle)
    }

    /// Nobody will ask for it again.
    pub fn forget(&self, out: &mut Outbox) {
        if self.holds_shuffles {
            out.push(Effect::ReleaseJob { job: self.id });
        }
        out.push(Effect::Forget { job: self.id });
    }
}
