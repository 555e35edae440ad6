//! A stage: waits for its inputs, reserves room, runs its tasks, commits what they wrote.
//!
//! Knows which tasks may run now and which later. Its shuffle may be lost, or an input's: then it starts over, or waits
//! with what is won ([`again`]). Not here: who runs them, what follows for the job.

mod again;
mod call;
mod outputs;
mod shown;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    commit::CommitLoss,
    ids::{AttemptNumber, ExecutorId, JobId, ShuffleId, StageId, StatementIndex, TaskIndex},
    shuffle::{CommitVerdict, Location, ShuffleSource, ShuffleTarget, Winner},
};

pub use again::Stopped;
pub use call::{Call, Trouble};
pub use shown::Counts;

use super::{
    attempt::Host,
    exchange,
    growth::{Answer, Growth},
    spec::{AttemptTarget, StageOutput, StageSpec},
    task::{Task, Verdict},
};

#[derive(Debug)]
pub enum Phase {
    /// For its inputs. The target is there if an input was lost after room for the output had been reserved.
    Waiting {
        target: Option<AttemptTarget>,
    },
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
    /// Grows with each change of what the tasks read or write.
    definition: u32,
    /// How often its shuffle data was lost.
    losses: u32,
    /// The shuffle of this run has room at the service.
    is_reserved: bool,
    /// Room was asked for at any time: some of it may be there, whatever the answers were.
    pub asked_for_room: bool,
    /// The epochs of the shuffle of this run.
    growth: Option<Growth>,
    /// What the shuffle service does not do, and since when.
    pub trouble: Option<Trouble>,
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
            phase: Phase::Waiting { target: None },
            job,
            run: 0,
            definition: 0,
            losses: 0,
            is_reserved: false,
            asked_for_room: false,
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

    /// The shuffle of the current run, if it has room at the service.
    pub fn room(&self) -> Option<ShuffleId> {
        self.is_reserved.then(|| self.shuffle())
    }

    /// All inputs are there, again or for the first time.
    pub fn begin(&mut self, now: Timestamp) {
        let Phase::Waiting { target } = &mut self.phase else { return };
        let target = target.take();
        self.started_at.get_or_insert(now);
        self.phase = match (self.spec.output, target) {
            (_, Some(target)) => self.run_tasks(now, target),
            (StageOutput::Files, None) => self.run_tasks(now, AttemptTarget::Files),
            (StageOutput::Shuffle | StageOutput::Result, None) => {
                self.asked_for_room = true;
                Phase::Reserving(Call::first(now))
            }
        };
    }

    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. })
    }

    pub fn is_reserving(&self) -> bool {
        matches!(self.phase, Phase::Reserving(_))
    }

    pub fn reads(&self, stage: StageId) -> bool {
        self.spec.inputs.iter().any(|(input, _)| *input == stage)
    }

    /// Whether anything that it wrote counts.
    pub fn has_output(&self) -> bool {
        self.won > 0 || self.is_committing() || self.is_done()
    }

    pub fn run(&self) -> u32 {
        self.run
    }

    pub fn definition(&self) -> u32 {
        self.definition
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

    /// Whether this is the shuffle of the stage's current run.
    pub fn uses(&self, shuffle: ShuffleId) -> bool {
        self.is_reserved && self.shuffle() == shuffle
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
        self.is_reserved = true;
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

    /// The epochs of a shuffle that is pushed to, be it after a wait for an input that was lost.
    pub fn growth(&mut self, shuffle: ShuffleId) -> Option<&mut Growth> {
        let is_pushed_to = self.shuffle() == shuffle
            && matches!(self.phase, Phase::Running { .. } | Phase::Waiting { target: Some(_) });
        self.growth.as_mut().filter(|_| is_pushed_to)
    }

    /// Beyond the first of each partition.
    pub fn epochs_added(&self) -> u32 {
        self.growth.as_ref().map_or(0, Growth::epochs_added)
    }

    /// Attempts that are told of their target from now on begin in the newest epochs.
    pub fn grew(&mut self) {
        let Some(newest) = self.growth.as_ref().map(|growth| Arc::new(growth.newest())) else { return };
        let newest = self.pushing_to(newest);
        if let Phase::Running { target } | Phase::Waiting { target: Some(target) } = &mut self.phase {
            *target = newest;
            self.definition += 1;
        }
    }

    /// Nothing is pushed any more: those who wait for new epochs hear so.
    pub fn stop_growing(&mut self) -> Vec<Answer> {
        self.growth.as_mut().map(|growth| growth.close("all tasks of the stage are done")).unwrap_or_default()
    }

    /// Every task that is not won becomes ready.
    fn run_tasks(&mut self, now: Timestamp, target: AttemptTarget) -> Phase {
        self.definition += 1;
        self.tasks.resize_with(self.spec.tasks as usize, || Task::new(now));
        for index in (0..self.spec.tasks).map(TaskIndex) {
            let task = &mut self.tasks[index.0 as usize];
            if task.winner().is_none() {
                task.pending_since = now;
                self.make_ready(index);
            }
        }
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
        (task.start(now, self.run, host), queued.as_millis() as u64)
    }

    pub fn task(&mut self, task: TaskIndex) -> Option<&mut Task> {
        self.tasks.get_mut(task.0 as usize)
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
            Verdict::Ignored | Verdict::GiveUp(_) | Verdict::ShuffleLost { .. } => {}
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
            AttemptTarget::Shuffle(target) => Some(self.commit(now, target, winners)),
            AttemptTarget::Result(target) if !winners.is_empty() => Some(self.commit(now, target, winners)),
            AttemptTarget::Result(_) | AttemptTarget::Files => {
                self.finish(now, None);
                Some(Complete::Done)
            }
        }
    }

    fn commit(&mut self, now: Timestamp, newest: Arc<ShuffleTarget>, winners: Arc<[Winner]>) -> Complete {
        let target = self.growth.as_ref().map_or(newest, |growth| Arc::new(growth.all()));
        self.phase =
            Phase::Committing { target: target.clone(), winners: winners.clone(), call: Call::first(now) };
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
}
