//! A stage: waits for its inputs, reserves room, runs its tasks, commits what they wrote.
//!
//! Knows which tasks may run now and which later. Not here: who runs them, what follows for the job.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    ids::{AttemptNumber, ExecutorId, JobId, ShuffleId, StatementIndex, TaskIndex},
    shuffle::{CommitVerdict, Location, MapOutput, ShuffleSource, ShuffleTarget, Winner},
    task::{TaskOutput, WrittenFile},
};

use super::{
    attempt::Host,
    exchange::{self, CommitLoss},
    growth::{Answer, Growth},
    spec::{AttemptTarget, InlineRows, StageOutput, StageSpec},
    status::{StageState, StageStatus, TaskStatus},
    task::{Task, Verdict},
};

#[derive(Debug)]
pub enum Phase {
    Waiting,
    Reserving(Call),
    Running {
        target: AttemptTarget,
    },
    Committing {
        target: Arc<ShuffleTarget>,
        winners: Arc<[Winner]>,
        call: Call,
    },
    /// The source is absent if the rows are inline or in files.
    Done {
        source: Option<Arc<ShuffleSource>>,
    },
    Stopped,
}

/// A call to the shuffle service that may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub tries: u32,
    /// When to ask again; none while an answer is awaited.
    pub retry_at: Option<Timestamp>,
}

impl Call {
    pub fn first() -> Self {
        Self { tries: 1, retry_at: None }
    }

    fn again(&mut self) {
        self.tries += 1;
        self.retry_at = None;
    }
}

/// What a stage needs when all its tasks are won.
#[derive(Debug)]
pub enum Complete {
    Commit {
        target: Arc<ShuffleTarget>,
        winners: Arc<[Winner]>,
    },
    /// Nothing was pushed that anybody reads.
    Done,
}

#[derive(Debug)]
pub struct Stage {
    pub spec: StageSpec,
    pub statement: StatementIndex,
    pub phase: Phase,
    job: JobId,
    /// Grows with each reservation: a shuffle id is never used twice.
    run: u32,
    /// Its shuffle has room at the service.
    pub was_reserved: bool,
    /// The epochs of the shuffle of this run.
    growth: Option<Growth>,
    /// What the last failed call to the shuffle service said.
    pub trouble: Option<String>,
    tasks: Vec<Task>,
    /// May run now.
    ready: BTreeSet<TaskIndex>,
    /// Of the ready ones, those that failed somewhere.
    avoid: BTreeMap<TaskIndex, Vec<ExecutorId>>,
    delayed: BTreeSet<(Timestamp, TaskIndex)>,
    won: u32,
    running: u32,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    rows_out: u64,
    output_bytes: u64,
}

impl Stage {
    pub fn new(job: JobId, statement: StatementIndex, spec: StageSpec) -> Self {
        Self {
            spec,
            statement,
            phase: Phase::Waiting,
            job,
            run: 0,
            was_reserved: false,
            growth: None,
            trouble: None,
            tasks: Vec::new(),
            ready: BTreeSet::new(),
            avoid: BTreeMap::new(),
            delayed: BTreeSet::new(),
            won: 0,
            running: 0,
            started_at: None,
            finished_at: None,
            rows_out: 0,
            output_bytes: 0,
        }
    }

    pub fn shuffle(&self) -> ShuffleId {
        ShuffleId { job: self.job, exchange: self.spec.stage, run: self.run }
    }

    pub fn writes_shuffle(&self) -> bool {
        self.spec.output != StageOutput::Files
    }

    /// All inputs are there.
    pub fn begin(&mut self, now: Timestamp) {
        self.started_at = Some(now);
        self.phase = match self.spec.output {
            StageOutput::Files => self.run_tasks(now, AttemptTarget::Files),
            StageOutput::Shuffle | StageOutput::Result => Phase::Reserving(Call::first()),
        };
    }

    /// Makes the call again that was put off: a reservation as a new shuffle, since of the refused one something may be
    /// left.
    pub fn call_again(&mut self) {
        match &mut self.phase {
            Phase::Reserving(call) => {
                call.again();
                self.run += 1;
            }
            Phase::Committing { call, .. } => call.again(),
            _ => {}
        }
    }

    pub fn awaits_reservation(&self, shuffle: ShuffleId) -> bool {
        matches!(self.phase, Phase::Reserving(Call { retry_at: None, .. })) && self.shuffle() == shuffle
    }

    pub fn awaits_commit(&self, shuffle: ShuffleId) -> bool {
        matches!(self.phase, Phase::Committing { call: Call { retry_at: None, .. }, .. })
            && self.shuffle() == shuffle
    }

    pub fn is_committing(&self) -> bool {
        matches!(self.phase, Phase::Committing { .. })
    }

    /// Whether this shuffle is or was the stage's own.
    pub fn uses(&self, shuffle: ShuffleId) -> bool {
        self.was_reserved && self.shuffle() == shuffle
    }

    /// The call that is awaited or put off.
    pub fn call(&mut self) -> Option<&mut Call> {
        match &mut self.phase {
            Phase::Reserving(call) | Phase::Committing { call, .. } => Some(call),
            _ => None,
        }
    }

    /// False if nobody waits for this answer any more.
    pub fn reserved(&mut self, now: Timestamp, target: &Arc<ShuffleTarget>) -> bool {
        if !self.awaits_reservation(target.shuffle) {
            return false;
        }
        self.was_reserved = true;
        self.growth = Some(Growth::new(target));
        self.trouble = None;
        let target = self.pushing_to(target.clone());
        self.phase = self.run_tasks(now, target);
        true
    }

    fn pushing_to(&self, target: Arc<ShuffleTarget>) -> AttemptTarget {
        match self.spec.output {
            StageOutput::Result => AttemptTarget::Result(target),
            StageOutput::Shuffle | StageOutput::Files => AttemptTarget::Shuffle(target),
        }
    }

    /// The epochs of a shuffle that is pushed to.
    pub fn growth(&mut self, shuffle: ShuffleId) -> Option<&mut Growth> {
        let is_pushed_to = matches!(self.phase, Phase::Running { .. }) && self.shuffle() == shuffle;
        self.growth.as_mut().filter(|_| is_pushed_to)
    }

    /// Attempts that are told of their target from now on begin in the newest epochs.
    pub fn grew(&mut self) {
        let Some(newest) = self.growth.as_ref().map(|growth| Arc::new(growth.newest())) else { return };
        let newest = self.pushing_to(newest);
        if let Phase::Running { target } = &mut self.phase {
            *target = newest;
        }
    }

    /// Nothing is pushed any more: those who wait for new epochs hear so.
    pub fn stop_growing(&mut self) -> Vec<Answer> {
        self.growth.as_mut().map(|growth| growth.close("all tasks of the stage are done")).unwrap_or_default()
    }

    fn run_tasks(&mut self, now: Timestamp, target: AttemptTarget) -> Phase {
        self.tasks = (0..self.spec.tasks).map(|_| Task::new(now)).collect();
        self.ready = (0..self.spec.tasks).map(TaskIndex).collect();
        Phase::Running { target }
    }

    pub fn target(&self) -> Option<&AttemptTarget> {
        match &self.phase {
            Phase::Running { target } => Some(target),
            _ => None,
        }
    }

    /// Tasks that may run now, with the executors that each should avoid.
    pub fn runnable(&self) -> (&BTreeSet<TaskIndex>, &BTreeMap<TaskIndex, Vec<ExecutorId>>) {
        (&self.ready, &self.avoid)
    }

    /// Takes a ready task; the second number is how long it waited.
    pub fn start(&mut self, now: Timestamp, task: TaskIndex, host: Host) -> (AttemptNumber, u64) {
        assert!(self.ready.remove(&task), "only a ready task is started");
        self.avoid.remove(&task);
        self.running += 1;
        let task = &mut self.tasks[task.0 as usize];
        let queued = now - task.pending_since;
        (task.start(now, host), queued.as_millis() as u64)
    }

    pub fn task(&mut self, task: TaskIndex) -> Option<&mut Task> {
        self.tasks.get_mut(task.0 as usize)
    }

    pub fn tasks(&mut self) -> impl Iterator<Item = (TaskIndex, &mut Task)> {
        (0..).map(TaskIndex).zip(&mut self.tasks)
    }

    /// Books what became of a task whose attempt ended; `was_running` says that the attempt counted until now.
    pub fn settle(&mut self, now: Timestamp, task: TaskIndex, was_running: bool, verdict: &Verdict) {
        self.running -= u32::from(was_running);
        match verdict {
            Verdict::Won => self.won += 1,
            Verdict::Again(at) if *at <= now => self.make_ready(task),
            Verdict::Again(at) => {
                self.delayed.insert((*at, task));
            }
            Verdict::Ignored | Verdict::GiveUp(_) => {}
        }
    }

    fn make_ready(&mut self, task: TaskIndex) {
        self.ready.insert(task);
        let avoid = self.tasks[task.0 as usize].avoid();
        if !avoid.is_empty() {
            self.avoid.insert(task, avoid);
        }
    }

    /// Tasks whose back-off is over become ready; whether there were any.
    pub fn wake(&mut self, now: Timestamp) -> bool {
        let mut woken = false;
        while self.delayed.first().is_some_and(|(at, _)| *at <= now) {
            let (_, task) = self.delayed.pop_first().expect("just seen");
            self.make_ready(task);
            woken = true;
        }
        woken
    }

    /// Once all tasks are won: what is left to do. None before.
    pub fn complete(&mut self, now: Timestamp) -> Option<Complete> {
        let Phase::Running { target } = &self.phase else { return None };
        if self.won < self.spec.tasks {
            return None;
        }
        let target = target.clone();
        let winners = exchange::winners(self.map_outputs().map(|(task, attempt, _)| (task, attempt)));
        match target {
            AttemptTarget::Shuffle(target) => Some(self.commit(target, winners)),
            AttemptTarget::Result(target) if !winners.is_empty() => Some(self.commit(target, winners)),
            AttemptTarget::Result(_) | AttemptTarget::Files => {
                self.finish(now, None);
                Some(Complete::Done)
            }
        }
    }

    fn commit(&mut self, newest: Arc<ShuffleTarget>, winners: Arc<[Winner]>) -> Complete {
        let target = self.growth.as_ref().map_or(newest, |growth| Arc::new(growth.all()));
        self.phase =
            Phase::Committing { target: target.clone(), winners: winners.clone(), call: Call::first() };
        Complete::Commit { target, winners }
    }

    /// Applies the verdicts; none if nobody waits for them.
    pub fn committed(
        &mut self,
        now: Timestamp,
        shuffle: ShuffleId,
        verdicts: &[(Location, CommitVerdict)],
    ) -> Option<Result<Arc<ShuffleSource>, CommitLoss>> {
        let Phase::Committing { target, winners, .. } = &self.phase else { return None };
        if target.shuffle != shuffle {
            return None;
        }
        let totals =
            exchange::totals(self.spec.output_partitions, self.map_outputs().map(|(_, _, output)| output));
        let source = match exchange::sources(target, winners.clone(), &totals, verdicts) {
            Ok(source) => Arc::new(source),
            Err(loss) => return Some(Err(loss)),
        };
        self.finish(now, Some(source.clone()));
        Some(Ok(source))
    }

    fn finish(&mut self, now: Timestamp, source: Option<Arc<ShuffleSource>>) {
        (self.rows_out, self.output_bytes) = self.output_size();
        self.finished_at = Some(now);
        self.phase = Phase::Done { source };
    }

    pub fn has_begun(&self) -> bool {
        self.started_at.is_some()
    }

    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done { .. })
    }

    pub fn source(&self) -> Option<&Arc<ShuffleSource>> {
        match &self.phase {
            Phase::Done { source } => source.as_ref(),
            _ => None,
        }
    }

    fn outputs(&self) -> impl Iterator<Item = (TaskIndex, AttemptNumber, &TaskOutput)> {
        let winners = (0..).map(TaskIndex).zip(&self.tasks);
        winners.filter_map(|(index, task)| task.winner().map(|(number, output)| (index, *number, output)))
    }

    fn map_outputs(&self) -> impl Iterator<Item = (TaskIndex, AttemptNumber, &MapOutput)> {
        self.outputs().filter_map(|(task, attempt, output)| match output {
            TaskOutput::Shuffle(output) => Some((task, attempt, output)),
            TaskOutput::Inline { .. } | TaskOutput::Files(_) => None,
        })
    }

    pub fn inline_rows(&self) -> Vec<InlineRows> {
        let inline = self.outputs().filter_map(|(task, _, output)| match output {
            TaskOutput::Inline { rows, batches } => {
                Some(InlineRows { task, rows: *rows, batches: batches.clone() })
            }
            TaskOutput::Shuffle(_) | TaskOutput::Files(_) => None,
        });
        inline.collect()
    }

    pub fn files(&self) -> Vec<WrittenFile> {
        let files = self.outputs().filter_map(|(_, _, output)| match output {
            TaskOutput::Files(files) => Some(files.iter().cloned()),
            TaskOutput::Shuffle(_) | TaskOutput::Inline { .. } => None,
        });
        files.flatten().collect()
    }

    fn output_size(&self) -> (u64, u64) {
        let sizes = self.outputs().map(|(_, _, output)| match output {
            TaskOutput::Shuffle(output) => output
                .partitions
                .iter()
                .fold((0, 0), |(rows, bytes), (_, t)| (rows + t.rows, bytes + t.bytes)),
            TaskOutput::Inline { rows, batches } => {
                (*rows, batches.iter().map(|batch| batch.len() as u64).sum())
            }
            TaskOutput::Files(files) => {
                files.iter().fold((0, 0), |(rows, bytes), file| (rows + file.rows, bytes + file.bytes))
            }
        });
        sizes.fold((0, 0), |(rows, bytes), (r, b)| (rows + r, bytes + b))
    }

    /// The job ends: nothing of this stage runs on. Gives the attempts that have to be told.
    pub fn stop(&mut self, now: Timestamp) -> Vec<(TaskIndex, AttemptNumber, Host)> {
        if self.is_done() {
            return Vec::new();
        }
        self.phase = Phase::Stopped;
        self.finished_at = self.started_at.map(|_| now);
        self.ready.clear();
        self.avoid.clear();
        self.delayed.clear();
        self.running = 0;
        let mut stopped = Vec::new();
        for (index, task) in self.tasks() {
            let attempts = task.attempts().filter_map(|attempt| attempt.stop().then_some(attempt));
            stopped.extend(attempts.map(|attempt| (index, attempt.number, attempt.host.clone())));
        }
        stopped
    }

    /// What the winners wrote has been read, or never will be.
    pub fn drop_outputs(&mut self) {
        self.tasks.iter_mut().for_each(Task::drop_output);
    }

    pub fn counts(&self) -> Counts {
        Counts {
            total: self.spec.tasks,
            won: self.won,
            running: self.running,
            ready: self.ready.len() as u32,
        }
    }

    pub fn status(&self) -> StageStatus {
        StageStatus {
            stage: self.spec.stage,
            statement: self.statement,
            name: self.spec.name.clone(),
            state: self.state(),
            output: self.spec.output,
            inputs: self.spec.inputs.iter().map(|(stage, _)| *stage).collect(),
            tasks_total: self.spec.tasks,
            tasks_finished: self.won,
            tasks_running: self.running,
            attempts_failed: self.tasks.iter().map(Task::attempts_failed).sum(),
            started_at: self.started_at,
            finished_at: self.finished_at,
            rows_out: self.rows_out,
            output_bytes: self.output_bytes,
            epochs_added: self.growth.as_ref().map_or(0, Growth::epochs_added),
        }
    }

    fn state(&self) -> StageState {
        match &self.phase {
            Phase::Waiting => StageState::Waiting,
            Phase::Reserving(_) => StageState::Reserving,
            Phase::Running { .. } => StageState::Running,
            Phase::Committing { .. } => StageState::Committing,
            Phase::Done { .. } => StageState::Succeeded,
            Phase::Stopped => StageState::Stopped,
        }
    }

    pub fn task_statuses(&self) -> Vec<TaskStatus> {
        (0..).map(TaskIndex).zip(&self.tasks).map(|(index, task)| task.status(index)).collect()
    }
}

/// Tasks of a stage by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub total: u32,
    pub won: u32,
    pub running: u32,
    pub ready: u32,
}
