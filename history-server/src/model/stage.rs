//! One stage: its plan, its attempts, the exchange it wrote.

use std::collections::BTreeMap;

use penstock_protocol::{
    event::{AttemptFinished, ExchangeCommitted, ExchangePartition, PlannedStage},
    ids::{AttemptNumber, ExecutorId, StatementIndex, TaskIndex},
    shuffle::PartitionTotals,
    task::{AttemptMetrics, Failure},
};

use super::operators::OperatorRecord;

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
}

#[derive(Debug, Clone)]
pub struct Attempt {
    pub executor: ExecutorId,
    pub queued_ms: u64,
    pub started_at_ms: i64,
    pub finished_at_ms: Option<i64>,
    pub state: AttemptState,
    pub winner: bool,
    pub failure: Option<Box<Failure>>,
    pub numbers: Option<Box<AttemptNumbers>>,
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

/// An attempt's metrics without those of its operators, which are merged per stage.
#[derive(Debug, Clone, Default)]
pub struct AttemptNumbers {
    pub rows_in: u64,
    pub rows_out: u64,
    pub scanned_bytes: u64,
    pub shuffle_read_bytes: u64,
    pub shuffle_written_bytes: u64,
    pub spilled_bytes: u64,
    pub written_bytes: u64,
    pub memory_peak_bytes: u64,
    pub run_ms: u64,
    pub cpu_ms: u64,
    pub shuffle_read_wait_ms: u64,
    pub shuffle_write_wait_ms: u64,
}

/// The newest committed run of the stage's exchange.
#[derive(Debug)]
pub struct Exchange {
    pub run: u32,
    pub committed_at_ms: i64,
    pub partitions: Vec<ExchangePartition>,
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

    pub fn start_attempt(
        &mut self,
        at_ms: i64,
        task: TaskIndex,
        number: AttemptNumber,
        executor: ExecutorId,
        queued_ms: u64,
    ) {
        self.start(at_ms);
        let attempt = self.attempt(at_ms, task, number, executor);
        attempt.started_at_ms = at_ms;
        attempt.queued_ms = queued_ms;
    }

    pub fn finish_attempt(&mut self, at_ms: i64, finished: AttemptFinished) {
        let AttemptFinished { task, attempt: number, executor, state, winner, failure, metrics, .. } =
            finished;
        let numbers = metrics.map(|mut metrics| {
            if winner {
                for operator in std::mem::take(&mut metrics.operators) {
                    self.operators.entry(operator.operator).or_default().add(task.0, operator);
                }
            }
            Box::new(AttemptNumbers::from(metrics))
        });
        let attempt = self.attempt(at_ms, task, number, executor);
        attempt.finished_at_ms = Some(at_ms);
        attempt.state = AttemptState::parse(&state);
        attempt.winner = winner;
        attempt.failure = failure.map(Box::new);
        attempt.numbers = numbers;
    }

    pub fn commit_exchange(&mut self, at_ms: i64, committed: ExchangeCommitted) {
        if self.exchange.as_ref().is_none_or(|known| known.run <= committed.run) {
            self.exchange = Some(Exchange {
                run: committed.run,
                committed_at_ms: at_ms,
                partitions: committed.partitions,
            });
        }
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
            queued_ms: 0,
            started_at_ms: at_ms,
            finished_at_ms: None,
            state: AttemptState::Running,
            winner: false,
            failure: None,
            numbers: None,
        })
    }
}

impl Exchange {
    pub fn totals(&self) -> PartitionTotals {
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

impl From<AttemptMetrics> for AttemptNumbers {
    fn from(metrics: AttemptMetrics) -> Self {
        Self {
            rows_in: metrics.rows_in,
            rows_out: metrics.rows_out,
            scanned_bytes: metrics.scanned_bytes,
            shuffle_read_bytes: metrics.shuffle_read_bytes,
            shuffle_written_bytes: metrics.shuffle_written_bytes,
            spilled_bytes: metrics.spilled_bytes,
            written_bytes: metrics.written_bytes,
            memory_peak_bytes: metrics.memory_peak_bytes,
            run_ms: metrics.run_ms,
            cpu_ms: metrics.cpu_ms,
            shuffle_read_wait_ms: metrics.shuffle_read_wait_ms,
            shuffle_write_wait_ms: metrics.shuffle_write_wait_ms,
        }
    }
}
