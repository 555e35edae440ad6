//! One stage: its plan, its attempts, the exchange it wrote.

use std::collections::BTreeMap;

use penstock_protocol::{
    event::{AttemptFinished, ExchangeCommitted, ExchangePartition, PlannedStage, ShuffleCommitted},
    ids::{AttemptNumber, ExecutorId, StatementIndex, TaskIndex},
    shuffle::PartitionTotals,
    task::{AttemptMetrics, Failure},
};

use super::{operators::OperatorRecord, shuffle::Shuffle};

/// Runs whose shuffles are kept, the newest.
const RUNS_MAX: usize = 64;

#[derive(Debug, Default)]
pub struct Stage {
    /// Absent if the record of the plan is missing from the log.
    pub planned: Option<PlannedStage>,
    pub statement: StatementIndex,
    pub started_at_ms: Option<i64>,
    pub finished_at_ms: Option<i64>,
    /// `succeeded`, `failed` or `cancelled`, once finished.
    pub outcome: Option<String>,
    pub tasks: BTreeMap<TaskIndex, BTreeMap<AttemptNumber, Attempt>>,
    pub operators: BTreeMap<u32, OperatorRecord>,
    pub exchange: Option<Exchange>,
    /// What is told of its shuffles, by run; nothing if an older version wrote the log.
    pub shuffles: BTreeMap<u32, Shuffle>,
    /// Its runs after the first.
    pub reruns: Vec<Rerun>,
}

/// The stage started over, and what its former winners wrote counts no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerun {
    pub run: u32,
    pub at_ms: i64,
    /// Goes on after "the stage ran again because".
    pub reason: String,
}

#[derive(Debug, Clone)]
pub struct Attempt {
    pub executor: ExecutorId,
    /// The run of the stage that it worked for.
    pub run: u32,
    pub queued_ms: u64,
    pub started_at_ms: i64,
    pub finished_at_ms: Option<i64>,
    pub state: AttemptState,
    pub winner: bool,
    pub failure: Option<Box<Failure>>,
    /// Without those of its operators, which are merged per stage.
    pub metrics: Option<Box<AttemptMetrics>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttemptState {
    Running,
    Succeeded,
    Failed,
    Cancelled,
    Lost,
    /// A state that a newer version knows.
    Other,
}

/// The newest committed run of the stage's exchange.
#[derive(Debug)]
pub struct Exchange {
    pub run: u32,
    pub committed_at_ms: i64,
    /// All, or the largest if there are very many: then `whole` speaks of all.
    pub partitions: Vec<ExchangePartition>,
    pub whole: Option<Box<ShuffleCommitted>>,
}

impl Stage {
    pub fn plan(&mut self, statement: StatementIndex, planned: PlannedStage) {
        self.statement = statement;
        for operator in &planned.operators {
            let record = self.operators.entry(operator.operator).or_default();
            record.parent = operator.parent;
            record.name.clone_from(&operator.name);
            record.detail.clone_from(&operator.detail);
            record.estimated_rows = operator.estimated_rows;
        }
        self.planned = Some(planned);
    }

    pub fn start(&mut self, at_ms: i64) {
        self.started_at_ms.get_or_insert(at_ms);
    }

    pub fn finish(&mut self, at_ms: i64, outcome: String) {
        self.finished_at_ms = Some(at_ms);
        self.outcome = Some(outcome);
    }

    /// The same record twice changes nothing.
    pub fn run_again(&mut self, at_ms: i64, run: u32, reason: String) {
        if self.reruns.last().is_some_and(|known| known.run >= run) {
            return;
        }
        self.reruns.push(Rerun { run, at_ms, reason });
        self.finished_at_ms = None;
        self.outcome = None;
        self.exchange = self.exchange.take().filter(|exchange| exchange.run >= run);
        self.operators.values_mut().for_each(OperatorRecord::start_over);
        for attempt in self.tasks.values_mut().flat_map(BTreeMap::values_mut) {
            attempt.winner &= attempt.run >= run;
        }
    }

    pub fn start_attempt(
        &mut self,
        at_ms: i64,
        task: TaskIndex,
        number: AttemptNumber,
        run: u32,
        executor: ExecutorId,
        queued_ms: u64,
    ) {
        self.start(at_ms);
        let attempt = self.attempt(at_ms, task, number, executor);
        attempt.run = run;
        attempt.started_at_ms = at_ms;
        attempt.queued_ms = queued_ms;
    }

    pub fn finish_attempt(&mut self, at_ms: i64, finished: AttemptFinished) {
        let AttemptFinished { task, attempt: number, executor, state, winner, failure, metrics, .. } =
            finished;
        let metrics = metrics.map(|mut metrics| {
            let operators = std::mem::take(&mut metrics.operators);
            for operator in operators.into_iter().filter(|_| winner) {
                self.operators.entry(operator.operator).or_default().add(task.0, operator);
            }
            Box::new(metrics)
        });
        let attempt = self.attempt(at_ms, task, number, executor);
        attempt.finished_at_ms = Some(at_ms);
        attempt.state = AttemptState::parse(&state);
        attempt.winner = winner;
        attempt.failure = failure.map(Box::new);
        attempt.metrics = metrics;
    }

    pub fn commit_exchange(&mut self, at_ms: i64, committed: ExchangeCommitted) {
        if self.exchange.as_ref().is_none_or(|known| known.run <= committed.run) {
            let told = self.shuffles.get(&committed.run).and_then(|shuffle| shuffle.committed.as_ref());
            let whole = told.map(|told| &told.what);
            let whole = whole.filter(|whole| whole.partitions as usize > committed.partitions.len());
            self.exchange = Some(Exchange {
                run: committed.run,
                committed_at_ms: at_ms,
                whole: whole.cloned().map(Box::new),
                partitions: committed.partitions,
            });
        }
    }

    /// The shuffle of a run.
    pub fn shuffle(&mut self, run: u32) -> &mut Shuffle {
        if self.shuffles.len() >= RUNS_MAX && !self.shuffles.contains_key(&run) {
            self.shuffles.pop_first();
        }
        self.shuffles.entry(run).or_default()
    }

    pub fn attempts(&self) -> impl Iterator<Item = (TaskIndex, AttemptNumber, &Attempt)> {
        self.tasks.iter().flat_map(|(task, attempts)| attempts.iter().map(|(number, a)| (*task, *number, a)))
    }

    pub fn attempts_total(&self) -> usize {
        self.tasks.values().map(BTreeMap::len).sum()
    }

    pub fn winners(&self) -> impl Iterator<Item = (TaskIndex, &Attempt)> {
        self.attempts().filter(|(_, _, attempt)| attempt.winner).map(|(task, _, attempt)| (task, attempt))
    }

    pub fn tasks_total(&self) -> u32 {
        let planned = self.planned.as_ref().map_or(0, |planned| planned.tasks);
        planned.max(u32::try_from(self.tasks.len()).unwrap_or(u32::MAX))
    }

    pub fn tasks_finished(&self) -> u32 {
        let finished = self.tasks.values().filter(|attempts| attempts.values().any(|a| a.winner)).count();
        u32::try_from(finished).unwrap_or(u32::MAX)
    }

    /// An attempt whose start is missing from the log is taken to have started when it is first heard of.
    fn attempt(
        &mut self,
        at_ms: i64,
        task: TaskIndex,
        number: AttemptNumber,
        executor: ExecutorId,
    ) -> &mut Attempt {
        self.tasks.entry(task).or_default().entry(number).or_insert_with(|| Attempt {
            executor,
            run: 0,
            queued_ms: 0,
            started_at_ms: at_ms,
            finished_at_ms: None,
            state: AttemptState::Running,
            winner: false,
            failure: None,
            metrics: None,
        })
    }
}

impl Exchange {
    pub fn partitions_total(&self) -> u32 {
        let named = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        self.whole.as_ref().map_or(named, |whole| whole.partitions)
    }

    pub fn totals(&self) -> PartitionTotals {
        if let Some(whole) = &self.whole {
            return whole.totals;
        }
        self.partitions.iter().fold(PartitionTotals::default(), |mut totals, partition| {
            totals.add(partition.totals);
            totals
        })
    }
}

impl AttemptState {
    fn parse(state: &str) -> Self {
        match state {
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            "lost" => Self::Lost,
            _ => Self::Other,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
            Self::Other => "other",
        }
    }
}
