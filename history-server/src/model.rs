//! What is known about one job after reading its log: everything that its page shows, and nothing else.
//!
//! Grows with the job's attempts, not with its log. Not here: how records are read, how the model is shown.

mod log;
mod operators;
mod samples;
mod shuffle;
mod stage;

use std::collections::BTreeMap;

use penstock_protocol::{
    event::{self, JobState},
    ids::{ExecutorId, StageId, StatementIndex},
};

pub use log::LogHealth;
pub use operators::{OperatorNumbers, OperatorRecord};
pub use samples::{Sample, Samples};
pub use shuffle::{At, Growth, Move, Shuffle};
pub use stage::{Attempt, AttemptState, Exchange, Rerun, Stage};

/// Warnings kept; more are only counted.
const WARNINGS_MAX: usize = 200;

#[derive(Debug, Default)]
pub struct JobModel {
    pub submitted: Option<event::JobSubmitted>,
    pub submitted_at_ms: Option<i64>,
    pub started_at_ms: Option<i64>,
    pub finished: Option<Finished>,
    pub statements: BTreeMap<StatementIndex, Statement>,
    pub stages: BTreeMap<StageId, Stage>,
    pub executors: BTreeMap<ExecutorId, Executor>,
    pub warnings: Vec<Warning>,
    pub warnings_total: u64,
    pub samples_dropped: u64,
    /// Time of the newest record.
    pub last_at_ms: i64,
    pub log: LogHealth,
}

#[derive(Debug)]
pub struct Finished {
    pub at_ms: i64,
    pub event: event::JobFinished,
}

#[derive(Debug)]
pub struct Statement {
    pub sql: String,
    pub kind: String,
    pub logical_plan: String,
    pub physical_plan: String,
    pub planned_at_ms: i64,
    pub finished_at_ms: Option<i64>,
    pub stages: Vec<StageId>,
    pub outputs: Vec<event::OutputsCommitted>,
}

#[derive(Debug, Default)]
pub struct Executor {
    pub host: Option<String>,
    pub slots: Option<u32>,
    pub joined_at_ms: Option<i64>,
    pub lost: Option<(i64, String)>,
    /// Since when it takes no new work.
    pub draining_at_ms: Option<i64>,
    pub samples: Samples,
}

#[derive(Debug)]
pub struct Warning {
    pub at_ms: i64,
    pub message: String,
}

impl JobModel {
    /// The state that the log alone tells; whether an unfinished job is LOST needs the time and is told elsewhere.
    pub fn state(&self) -> JobState {
        match &self.finished {
            Some(finished) => finished.event.state,
            None if !self.stages.is_empty() => JobState::Running,
            None if self.started_at_ms.is_some() => JobState::Planning,
            None => JobState::Queued,
        }
    }

    /// Attempts held in memory: what the model's size depends on.
    pub fn attempts(&self) -> usize {
        self.stages.values().map(Stage::attempts_total).sum()
    }

    /// Applies one event. Late, repeated and reordered events are harmless; what an event refers to may be unknown.
    pub fn apply(&mut self, at_ms: i64, event: event::Event) {
        use event::Event;
        self.last_at_ms = self.last_at_ms.max(at_ms);
        match event {
            Event::JobSubmitted(submitted) => {
                self.submitted_at_ms = Some(at_ms);
                self.submitted = Some(submitted);
            }
            Event::JobStarted {} => self.started_at_ms = Some(at_ms),
            Event::StatementPlanned(planned) => self.plan_statement(at_ms, planned),
            Event::StatementFinished { statement } => {
                if let Some(statement) = self.statements.get_mut(&statement) {
                    statement.finished_at_ms = Some(at_ms);
                }
            }
            Event::StageStarted { stage } => self.stage(stage).start(at_ms),
            Event::StageFinished(finished) => self.stage(finished.stage).finish(at_ms, finished.state),
            Event::StageRunAgain(again) => self.stage(again.stage).run_again(at_ms, again.run, again.reason),
            Event::AttemptStarted { stage, task, attempt, run, executor, queued_ms } => {
                self.executors.entry(executor.clone()).or_default();
                self.stage(stage).start_attempt(at_ms, task, attempt, run, executor, queued_ms);
            }
            Event::AttemptFinished(finished) => {
                self.executors.entry(finished.executor.clone()).or_default();
                self.stage(finished.stage).finish_attempt(at_ms, *finished);
            }
            Event::ExchangeCommitted(committed) => {
                self.stage(committed.stage).commit_exchange(at_ms, committed)
            }
            Event::ExecutorJoined { executor, host, slots } => {
                let known = self.executors.entry(executor).or_default();
                (known.host, known.slots) = (Some(host), Some(slots));
                known.joined_at_ms = Some(at_ms);
                // A new life of it.
                known.draining_at_ms = None;
            }
            Event::ShufflePlaced(placed) => {
                self.stage(placed.stage).shuffle(placed.run).place(at_ms, placed);
            }
            Event::ShuffleGrew(grew) => self.stage(grew.stage).shuffle(grew.run).grow(at_ms, grew),
            Event::ShuffleCommitted(committed) => {
                self.stage(committed.stage).shuffle(committed.run).commit(at_ms, *committed);
            }
            Event::ShuffleLost(lost) => self.stage(lost.stage).shuffle(lost.run).lose(at_ms, lost.reason),
            Event::ShufflesReleased(released) => {
                for shuffle in released.shuffles {
                    self.stage(shuffle.stage).shuffle(shuffle.run).released_at_ms = Some(at_ms);
                }
            }
            Event::ExecutorDraining { executor } => {
                self.executors.entry(executor).or_default().draining_at_ms = Some(at_ms);
            }
            Event::ExecutorLost { executor, reason } => {
                self.executors.entry(executor).or_default().lost = Some((at_ms, reason));
            }
            Event::ExecutorSampled {
                executor,
                cpu_used,
                memory_used_bytes,
                memory_limit_bytes,
                scratch_used_bytes,
            } => self.executors.entry(executor).or_default().samples.add(Sample {
                at_ms,
                cpu_used,
                memory_used_bytes,
                memory_limit_bytes,
                scratch_used_bytes,
            }),
            Event::OutputsCommitted(outputs) => {
                if let Some(statement) = self.statements.get_mut(&outputs.statement) {
                    statement.outputs.push(outputs);
                }
            }
            Event::Warning { message } => self.warn(at_ms, message),
            Event::SamplesDropped { count } => self.samples_dropped += count,
            Event::JobFinished(event) => self.finished = Some(Finished { at_ms, event }),
            Event::Unknown => self.log.unknown += 1,
        }
    }

    fn plan_statement(&mut self, at_ms: i64, planned: event::StatementPlanned) {
        let stages = planned.stages.iter().map(|stage| stage.stage).collect();
        for stage in planned.stages {
            let id = stage.stage;
            self.stage(id).plan(planned.statement, stage);
        }
        let outputs = self.statements.remove(&planned.statement).map(|old| old.outputs).unwrap_or_default();
        let statement = Statement {
            sql: planned.sql,
            kind: planned.kind,
            logical_plan: planned.logical_plan,
            physical_plan: planned.physical_plan,
            planned_at_ms: at_ms,
            finished_at_ms: None,
            stages,
            outputs,
        };
        self.statements.insert(planned.statement, statement);
    }

    fn stage(&mut self, stage: StageId) -> &mut Stage {
        self.stages.entry(stage).or_default()
    }

    fn warn(&mut self, at_ms: i64, message: String) {
        self.warnings_total += 1;
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(Warning { at_ms, message });
        }
    }
}
