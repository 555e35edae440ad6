//! A world around the core that speaks in sentences.
//!
//! The shell's part (planning, the shuffle service, publication) answers at once unless told to fail or to hold its
//! answers; executors say only what the sentences make them say.
#![allow(clippy::unwrap_used)]

mod plan;
mod shell;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    time::Duration,
};

use expect_test::Expect;
use penstock_common::clock::Timestamp;
use penstock_protocol::{
    ids::{
        AttemptId, AttemptNumber, Incarnation, JobId, PartitionIndex, ShuffleId, StageId, TaskId, WorkerId,
    },
    shuffle::{EndedEpoch, EpochEnd, Location, MapOutput, PartitionTotals},
    task::{AttemptMetrics, AttemptOutcome, AttemptReport, Failure, FailureClass, TaskOutput, WrittenFile},
    wire::executor::{AttemptProgress, EpochsRequest, Heartbeat, NodeSample},
};

use crate::{
    coordinator::{Coordinator, Options, QueueOptions},
    effect::Effect,
    event::{Event, RequestId},
    job::{Host, JobFailure, JobSpec, Rerun, StageOutput},
};

/// Runs the sentences (separated by `;`) and compares what the core wanted, one line for each sentence that led to
/// something. Sentences before `--` only set the scene.
#[track_caller]
pub fn check(sentences: &str, expected: Expect) {
    let mut world = World::new(Options::default());
    let (before, after) = sentences.split_once("--").unwrap_or(("", sentences));
    let run = |world: &mut World, text: &str| {
        let sentences = text.split(';').map(str::trim).filter(|sentence| !sentence.is_empty());
        sentences.map(|sentence| world.say(sentence)).filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    run(&mut world, before);
    expected.assert_eq(&run(&mut world, after).join("\n"));
}

pub struct World {
    pub core: Coordinator,
    pub now: Timestamp,
    pub jobs: BTreeMap<String, JobId>,
    plans: BTreeMap<JobId, Vec<String>>,
    stage_names: BTreeMap<(JobId, StageId), String>,
    outputs: BTreeMap<(JobId, StageId), StageOutput>,
    /// Streams that are open.
    pub hosts: BTreeMap<String, Host>,
    lives: u64,
    requests: u64,
    /// The newest attempt of each task and where it went.
    pub attempts: BTreeMap<AttemptId, Host>,
    newest: BTreeMap<TaskId, AttemptId>,
    /// What each attempt reads, and last what it pushes to.
    pub shuffles: BTreeMap<AttemptId, Vec<ShuffleId>>,
    journaled: BTreeSet<AttemptId>,
    extended: HashSet<(ShuffleId, Location)>,
    pub answers: VecDeque<Event>,
    /// What goes wrong next: `plan`, `reserve`, `commit`, `verdict`, `publish`, `catalog`.
    pub faults: BTreeSet<String>,
    pub holding: bool,
    /// Whether the shuffle service gives no room at all.
    refusing: bool,
    said: Vec<String>,
    /// Seen by the random walk.
    pub effects: Vec<Effect>,
}

impl World {
    pub fn new(mut options: Options) -> Self {
        let queue = QueueOptions { jobs_max: 1, ..QueueOptions::default() };
        options.queues.insert("narrow".to_owned(), queue);
        Self {
            core: Coordinator::new(options),
            now: Timestamp::from_millis(1_000_000),
            jobs: BTreeMap::new(),
            plans: BTreeMap::new(),
            stage_names: BTreeMap::new(),
            outputs: BTreeMap::new(),
            hosts: BTreeMap::new(),
            lives: 0,
            requests: 0,
            attempts: BTreeMap::new(),
            newest: BTreeMap::new(),
            shuffles: BTreeMap::new(),
            journaled: BTreeSet::new(),
            extended: HashSet::new(),
            answers: VecDeque::new(),
            faults: BTreeSet::new(),
            holding: false,
            refusing: false,
            said: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// One sentence; gives what the core wanted.
    pub fn say(&mut self, sentence: &str) -> String {
        let words: Vec<_> = sentence.split_whitespace().collect();
        match words[..] {
            [executor, "joins", "with", slots] => self.join(executor, slots.parse().unwrap(), Vec::new()),
            [executor, "comes", "back", "with", slots, "running", ref attempts @ ..] => {
                let running = attempts.iter().map(|text| self.attempt(text)).collect();
                self.come_back(executor, slots.parse().unwrap(), running);
            }
            [executor, "beats"] => self.beat(executor, Heartbeat::default()),
            [executor, "uses", cores, "cores"] => {
                let cpu_used = cores.parse().unwrap();
                let sample = NodeSample { cpu_used, memory_limit_bytes: 1 << 30, ..NodeSample::default() };
                self.beat(executor, Heartbeat { sample, progress: Vec::new() });
            }
            [attempt, "has", "read", rows_in, "and", "written", rows_out] => {
                let attempt = self.attempt(attempt);
                let (rows_in, rows_out) = (rows_in.parse().unwrap(), rows_out.parse().unwrap());
                let progress = vec![AttemptProgress { attempt, rows_in, rows_out }];
                let executor = self.attempts[&attempt].executor.to_string();
                self.beat(&executor, Heartbeat { sample: NodeSample::default(), progress });
            }
            ["rows", "of", attempt] => {
                let line = self.rows(attempt);
                self.said.push(line);
            }
            [executor, "drains"] => {
                let Host { executor, incarnation } = self.host(executor);
                self.step(Event::ExecutorDraining { executor, incarnation });
            }
            [executor, "is", "cut", "off"] => self.cut_off(executor),
            [executor, "is", "lost"] => {
                self.cut_off(executor);
                self.hosts.remove(executor);
                self.pass(Duration::from_millis(2_000), true);
            }
            ["submit", name, ref rest @ ..] => self.submit(name, rest),
            ["cancel", job] => self.cancel(job, Duration::ZERO),
            ["cancel", job, "in", seconds] => self.cancel(job, seconds_of(seconds)),
            ["poll", job] => self.step(Event::Polled { job: self.jobs[job] }),
            [time, "pass"] => self.pass(seconds_of(time), true),
            ["the", "coordinator", "stands", "still", "for", time] => {
                let duration = seconds_of(time);
                self.now = self.now + duration;
                self.step(Event::StoodStill { duration });
            }
            [time, "pass", "in", "silence"] => self.pass(seconds_of(time), false),
            ["next", what, "fails"] => drop(self.faults.insert(what.to_owned())),
            ["every", "reserve", "fails"] => self.refusing = true,
            ["no", "reserve", "fails"] => self.refusing = false,
            ["hold", "answers"] => self.holding = true,
            ["give", "answers"] => self.holding = false,
            ["give", number, "answers"] => (0..number.parse().unwrap()).for_each(|_| self.answer(0)),
            ["status", job] => {
                let line = self.status(job);
                self.said.push(line);
            }
            [attempt, "succeeds"] => self.report(attempt, AttemptOutcome::Succeeded),
            [attempt, "is", "handed", "back"] => self.report(attempt, |_| AttemptOutcome::Cancelled),
            [attempt, "fails"] => self.fail(attempt, FailureClass::Infrastructure, None),
            [attempt, "fails", "by", "data"] => self.fail(attempt, FailureClass::UserData, None),
            [attempt, "cannot", "read", stage] => {
                let AttemptId { task: TaskId { job, .. }, .. } = self.attempt(attempt);
                let stage = self.stage(job, stage);
                self.lose(attempt, stage);
            }
            [attempt, "cannot", "push"] => {
                let AttemptId { task: TaskId { stage, .. }, .. } = self.attempt(attempt);
                self.lose(attempt, stage);
            }
            [attempt, "says", "that", stage, "is", "lost"] => {
                let AttemptId { task: TaskId { job, .. }, .. } = self.attempt(attempt);
                let exchange = self.stage(job, stage);
                let lost = ShuffleId { job, exchange, run: 0 };
                self.fail(attempt, FailureClass::Infrastructure, Some(lost));
            }
            ["reruns", job] => {
                let status = self.core.status(self.jobs[job]).unwrap();
                let line = |rerun: &Rerun| {
                    format!("{}~{} because {}", rerun.stage_name, rerun.run, self.readable(&rerun.reason))
                };
                let lines: Vec<_> = status.reruns.iter().map(line).collect();
                self.said.extend(lines);
            }
            [executor, "asks", "what", "follows", epoch, "of", stage] => {
                self.ask_for_epochs(executor, epoch, stage);
            }
            ["shuffle", "worker", worker, "leaves"] => {
                self.step(Event::WorkersLeaving { workers: BTreeSet::from([WorkerId::from(worker)]) });
            }
            [attempt, "reports", "nonsense"] => {
                self.report(attempt, |_| AttemptOutcome::Succeeded(TaskOutput::Files(Vec::new())));
            }
            _ => panic!("what does `{sentence}` mean?"),
        }
        self.answer_all();
        std::mem::take(&mut self.said).join(", ")
    }

    fn host(&self, name: &str) -> Host {
        self.hosts.get(name).cloned().unwrap_or(Host { executor: name.into(), incarnation: Incarnation(0) })
    }

    fn beat(&mut self, name: &str, heartbeat: Heartbeat) {
        let Host { executor, incarnation } = self.host(name);
        self.step(Event::ExecutorHeartbeat { executor, incarnation, heartbeat });
    }

    pub fn join(&mut self, name: &str, slots: u32, running: Vec<AttemptId>) {
        self.lives += 1;
        self.hosts
            .insert(name.to_owned(), Host { executor: name.into(), incarnation: Incarnation(self.lives) });
        self.come_back(name, slots, running);
    }

    pub fn come_back(&mut self, name: &str, slots: u32, running: Vec<AttemptId>) {
        let Host { executor, incarnation } = self.host(name);
        let host = format!("host-{name}");
        self.step(Event::ExecutorConnected { executor, incarnation, host, slots, running });
    }

    pub fn cut_off(&mut self, name: &str) {
        let Host { executor, incarnation } = self.host(name);
        let reason = "connection reset".to_owned();
        self.step(Event::ExecutorDisconnected { executor, incarnation, reason });
    }

    /// `submit a [key k] [scope s] [lease 10s] [timeout 10s] [priority 1] [in q] [sql s] = x:2 > r:1 | catalog`
    pub fn submit(&mut self, name: &str, words: &[&str]) {
        let split = words.iter().position(|word| *word == "=").unwrap();
        let mut spec = JobSpec { name: name.to_owned(), client: "test".to_owned(), ..JobSpec::default() };
        for pair in words[..split].chunks(2) {
            match pair {
                ["key", key] => spec.idempotency_key = Some((*key).to_owned()),
                ["scope", scope] => spec.scope_key = Some((*scope).to_owned()),
                ["lease", time] => spec.lease_seconds = Some(seconds_of(time).as_secs()),
                ["timeout", time] => spec.timeout_seconds = Some(seconds_of(time).as_secs()),
                ["priority", priority] => spec.priority = priority.parse().unwrap(),
                ["in", queue] => spec.queue = (*queue).to_owned(),
                ["sql", sql] => spec.sql = (*sql).to_owned(),
                other => panic!("what is {other:?}?"),
            }
        }
        let job = JobId(uuid::Uuid::from_u128(self.requests as u128 + 1));
        let statements = words[split + 1..].join(" ");
        self.jobs.insert(name.to_owned(), job);
        self.plans.insert(job, statements.split('|').map(|text| text.trim().to_owned()).collect());
        self.requests += 1;
        let request = RequestId(self.requests);
        self.step(Event::Submit { request, job, spec: Box::new(spec), stored: None });
    }

    pub fn cancel(&mut self, job: &str, grace: Duration) {
        let reason = "the user said so".to_owned();
        self.step(Event::Cancel { request: None, job: self.jobs[job], reason, grace });
    }

    /// Time goes on in ticks; executors with an open stream beat meanwhile.
    pub fn pass(&mut self, time: Duration, beating: bool) {
        let end = self.now + time;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(500));
            for Host { executor, incarnation } in self.hosts.clone().into_values().filter(|_| beating) {
                let heartbeat = Heartbeat::default();
                self.step(Event::ExecutorHeartbeat { executor, incarnation, heartbeat });
            }
            self.step(Event::Tick);
            self.answer_all();
        }
    }

    /// `a/x0` (the newest attempt) or `a/x0#1`.
    pub fn attempt(&self, text: &str) -> AttemptId {
        let (path, number) = text.split_once('#').map_or((text, None), |(path, number)| (path, Some(number)));
        let (job, task) = path.split_once('/').unwrap();
        let at = task.find(|c: char| c.is_ascii_digit()).unwrap();
        let job = self.jobs[job];
        let stage = self.stage(job, &task[..at]);
        let task = TaskId { job, stage, index: task[at..].parse().unwrap() };
        match number {
            Some(number) => AttemptId { task, number: AttemptNumber(number.parse().unwrap()) },
            None => self.newest[&task],
        }
    }

    fn stage(&self, job: JobId, name: &str) -> StageId {
        let named = |((of, _), known): &(&(JobId, StageId), &String)| *of == job && **known == name;
        let ((_, stage), _) = self.stage_names.iter().find(named).unwrap();
        *stage
    }

    /// The attempt says that the shuffle of this stage, in the run that it was told of, is lost.
    fn lose(&mut self, attempt: &str, stage: StageId) {
        let shuffles = &self.shuffles[&self.attempt(attempt)];
        let lost = *shuffles.iter().find(|shuffle| shuffle.exchange == stage).unwrap();
        self.fail(attempt, FailureClass::Infrastructure, Some(lost));
    }

    /// `e1 asks what follows 0 of a/x`, of partition 0.
    fn ask_for_epochs(&mut self, executor: &str, epoch: &str, stage: &str) {
        let (job, name) = stage.split_once('/').unwrap();
        let job = self.jobs[job];
        let shuffle = ShuffleId { job, exchange: self.stage(job, name), run: 0 };
        let ended = vec![EndedEpoch {
            partition: PartitionIndex(0),
            epoch: epoch.parse().unwrap(),
            why: EpochEnd::Grown,
        }];
        self.requests += 1;
        let request = EpochsRequest { request: self.requests, shuffle, ended, suspects: Vec::new() };
        let Host { executor, incarnation } = self.host(executor);
        self.step(Event::EpochsWanted { executor, incarnation, request });
    }

    fn report(&mut self, attempt: &str, outcome: impl FnOnce(TaskOutput) -> AttemptOutcome) {
        let attempt = self.attempt(attempt);
        let outcome = outcome(self.output(attempt.task));
        self.report_from(self.attempts[&attempt].clone(), attempt, outcome);
    }

    pub fn report_from(&mut self, host: Host, attempt: AttemptId, outcome: AttemptOutcome) {
        let report = Box::new(AttemptReport { attempt, outcome, metrics: AttemptMetrics::default() });
        let Host { executor, incarnation } = host;
        self.step(Event::AttemptReported { executor, incarnation, report });
    }

    /// What a task of this stage writes when all goes well.
    pub fn output(&self, task: TaskId) -> TaskOutput {
        let totals = PartitionTotals { rows: 10, bytes: 100, batches: 1, checksum: 7 };
        let pushed = TaskOutput::Shuffle(MapOutput { partitions: vec![(PartitionIndex(0), totals)] });
        let name = &self.stage_names[&(task.job, task.stage)];
        match self.outputs[&(task.job, task.stage)] {
            StageOutput::Result if name == "r" => {
                TaskOutput::Inline { rows: 1, batches: vec![bytes::Bytes::from_static(b"row")] }
            }
            StageOutput::Shuffle | StageOutput::Result => pushed,
            StageOutput::Files => {
                let staged_path = format!("{}/{}", task.stage, task.index);
                let file = WrittenFile { final_path: staged_path.clone(), staged_path, rows: 10, bytes: 100 };
                TaskOutput::Files(vec![file])
            }
        }
    }

    pub fn fail(&mut self, attempt: &str, class: FailureClass, lost_shuffle: Option<ShuffleId>) {
        let message = match lost_shuffle {
            Some(shuffle) => format!("shuffle {shuffle} is lost: worker w1 is gone"),
            None => "it did not work".to_owned(),
        };
        let failure = Failure { class, message, advice: None, lost_shuffle };
        self.report(attempt, |_| AttemptOutcome::Failed(failure));
    }

    fn rows(&self, attempt: &str) -> String {
        let AttemptId { task: TaskId { job, stage, index }, number } = self.attempt(attempt);
        let tasks = self.core.tasks(job, stage).unwrap();
        let attempt = &tasks[index.0 as usize].attempts[number.0 as usize];
        format!("{} in, {} out", attempt.rows_in, attempt.rows_out)
    }

    fn status(&self, job: &str) -> String {
        let status = self.core.status(self.jobs[job]).unwrap();
        let progress = &status.progress;
        let mut line = format!(
            "{:?} {}/{} statements {}/{} stages {}/{} tasks {} running",
            status.state,
            progress.statements_finished,
            progress.statements_total,
            progress.stages_finished,
            progress.stages_total,
            progress.tasks_finished,
            progress.tasks_total,
            progress.tasks_running,
        );
        if let Some(waiting) = &status.waiting {
            line += &format!(" ({})", self.readable(waiting));
        }
        line
    }

    pub fn step(&mut self, event: Event) {
        for effect in self.core.step(self.now, event) {
            self.observe(&effect);
            self.effects.push(effect);
        }
    }

    pub fn answer_all(&mut self) {
        while !self.holding {
            let Some(event) = self.answers.pop_front() else { return };
            self.step(event);
        }
    }

    /// Gives one of the answers that wait, in whatever order.
    pub fn answer(&mut self, position: usize) {
        let event = self.answers.remove(position).unwrap();
        self.step(event);
    }

    fn shuffle_name(&self, shuffle: ShuffleId) -> String {
        let stage = &self.stage_names[&(shuffle.job, shuffle.exchange)];
        let run = if shuffle.run == 0 { String::new() } else { format!("~{}", shuffle.run) };
        format!("{}/{stage}{run}", self.job_name(shuffle.job))
    }

    fn attempt_name(&self, attempt: AttemptId) -> String {
        let TaskId { job, stage, index } = attempt.task;
        let number = if attempt.number.0 == 0 { String::new() } else { format!("#{}", attempt.number) };
        format!("{}/{}{index}{number}", self.job_name(job), self.stage_names[&(job, stage)])
    }

    fn why(&self, failure: Option<&JobFailure>) -> String {
        failure.map_or_else(String::new, |failure| format!(": {}", self.readable(&failure.failure.message)))
    }

    fn readable(&self, text: &str) -> String {
        self.jobs.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&id.to_string(), name))
    }
}

fn seconds_of(text: &str) -> Duration {
    Duration::from_secs_f64(text.trim_end_matches('s').parse().unwrap())
}
