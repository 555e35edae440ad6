//! A world around the core that speaks in sentences.
//!
//! The shell's part (planning, the shuffle service, publication) answers at once unless told to fail or to hold its
//! answers; executors say only what the sentences make them say.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use expect_test::Expect;
use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::StatementPlanned,
    ids::{
        AttemptId, AttemptNumber, Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, StageId,
        StatementIndex, TaskId, WorkerId,
    },
    shuffle::{
        CommitVerdict, EndedEpoch, Location, MapOutput, PartitionTotals, ShuffleTarget, WorkerAddress,
    },
    task::{AttemptMetrics, AttemptOutcome, AttemptReport, Failure, FailureClass, TaskOutput, WrittenFile},
    wire::executor::EpochsRequest,
};

use crate::{
    coordinator::{Coordinator, Options, QueueOptions},
    effect::{Dispatch, Effect},
    event::{Event, RequestId},
    job::{
        Host, JobFailure, JobSpec, Outputs, ReadMode, StageOutput, StageSpec, StatementPlan, StatementText,
        StatementWork,
    },
    journal::Fact,
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
    journaled: BTreeSet<AttemptId>,
    extended: HashSet<(ShuffleId, Location)>,
    pub answers: VecDeque<Event>,
    /// What goes wrong next: `plan`, `reserve`, `commit`, `verdict`, `publish`, `catalog`.
    pub faults: BTreeSet<String>,
    pub holding: bool,
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
            journaled: BTreeSet::new(),
            extended: HashSet::new(),
            answers: VecDeque::new(),
            faults: BTreeSet::new(),
            holding: false,
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
            [executor, "beats"] => {
                let Host { executor, incarnation } = self.host(executor);
                self.step(Event::ExecutorHeartbeat { executor, incarnation });
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
            [time, "pass", "in", "silence"] => self.pass(seconds_of(time), false),
            ["next", what, "fails"] => drop(self.faults.insert(what.to_owned())),
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
            [attempt, "cannot", "read"] => {
                let AttemptId { task: TaskId { job, stage, .. }, .. } = self.attempt(attempt);
                let exchange = StageId(stage.0 - 1);
                self.fail(attempt, FailureClass::Infrastructure, Some(ShuffleId { job, exchange, run: 0 }));
            }
            [executor, "asks", "what", "follows", epoch, "of", stage] => {
                self.ask_for_epochs(executor, epoch, stage);
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
                self.step(Event::ExecutorHeartbeat { executor, incarnation });
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
        let named = |((of, _), name): &(&(JobId, StageId), &String)| *of == job && **name == task[..at];
        let ((_, stage), _) = self.stage_names.iter().find(named).unwrap();
        let task = TaskId { job, stage: *stage, index: task[at..].parse().unwrap() };
        match number {
            Some(number) => AttemptId { task, number: AttemptNumber(number.parse().unwrap()) },
            None => self.newest[&task],
        }
    }

    /// `e1 asks what follows 0 of a/x`, of partition 0.
    fn ask_for_epochs(&mut self, executor: &str, epoch: &str, stage: &str) {
        let (job, name) = stage.split_once('/').unwrap();
        let job = self.jobs[job];
        let named = |((of, _), known): &(&(JobId, StageId), &String)| *of == job && **known == name;
        let ((_, exchange), _) = self.stage_names.iter().find(named).unwrap();
        let shuffle = ShuffleId { job, exchange: *exchange, run: 0 };
        let ended = vec![EndedEpoch { partition: PartitionIndex(0), epoch: epoch.parse().unwrap() }];
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
        let message = "it did not work".to_owned();
        let failure = Failure { class, message, advice: None, lost_shuffle };
        self.report(attempt, |_| AttemptOutcome::Failed(failure));
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

    fn observe(&mut self, effect: &Effect) {
        match effect {
            Effect::AnswerSubmit { answer, .. } => self.say_answer(answer),
            Effect::Journal { record, job } => {
                if let Fact::Dispatched { attempts } = &record.fact {
                    self.journaled.extend(attempts.iter().map(|attempt| AttemptId {
                        task: TaskId { job: *job, stage: attempt.stage, index: attempt.task },
                        number: attempt.attempt,
                    }));
                }
                if let Fact::Extended { shuffle, locations } = &record.fact {
                    self.extended.extend(locations.iter().map(|at| (*shuffle, at.clone())));
                }
                if let Fact::Finished { state, failure } = &record.fact {
                    let line = format!(
                        "{} {}{}",
                        self.job_name(*job),
                        state_word(*state),
                        self.why(failure.as_ref())
                    );
                    self.said.push(line);
                }
            }
            Effect::PrepareScript { job, .. } => {
                let statements =
                    self.plans[job].iter().map(|text| StatementText { sql: text.as_str().into() });
                let outcome = Ok(statements.collect());
                self.answers.push_back(Event::ScriptPrepared { job: *job, outcome });
            }
            Effect::PlanStatement { job, statement, first_stage, .. } => {
                self.plan(*job, *statement, *first_stage)
            }
            Effect::ReserveShuffle { shuffle, partitions } => {
                let outcome = match self.faults.remove("reserve") {
                    true => Err(JobFailure::new(FailureClass::Infrastructure, "no worker has room", None)),
                    false => Ok(Arc::new(target(*shuffle, *partitions))),
                };
                self.said.push(format!("reserve {}", self.shuffle_name(*shuffle)));
                self.answers.push_back(Event::ShuffleReserved { shuffle: *shuffle, outcome });
            }
            Effect::ExtendShuffle { shuffle, wanted, .. } => {
                let outcome = match self.faults.remove("extend") {
                    true => Err(JobFailure::new(FailureClass::Infrastructure, "no worker has room", None)),
                    false => {
                        Ok(wanted.iter().map(|(partition, epoch)| location(*partition, *epoch)).collect())
                    }
                };
                let epochs: Vec<_> = wanted.iter().map(|(p, epoch)| format!("{p}.{epoch}")).collect();
                self.said.push(format!("extend {} by {}", self.shuffle_name(*shuffle), epochs.join(" ")));
                self.answers.push_back(Event::ShuffleExtended {
                    shuffle: *shuffle,
                    wanted: wanted.clone(),
                    outcome,
                });
            }
            Effect::AnswerEpochs { executor, outcome, .. } => {
                let heard = match outcome {
                    Ok(target) => {
                        assert!(
                            target
                                .locations
                                .iter()
                                .all(|at| self.extended.contains(&(target.shuffle, at.clone()))),
                            "epochs are journaled before anybody hears of them"
                        );
                        let epochs =
                            target.locations.iter().map(|at| format!("{}.{}", at.partition, at.epoch));
                        format!("hears of {}", epochs.collect::<Vec<_>>().join(" "))
                    }
                    Err(reason) => format!("hears that {}", self.readable(reason)),
                };
                self.said.push(format!("{executor} {heard}"));
            }
            Effect::CommitShuffle { target, .. } => {
                let outcome = match self.faults.remove("commit") {
                    true => Err(JobFailure::new(FailureClass::Infrastructure, "the master is silent", None)),
                    false => Ok(self.verdicts(target)),
                };
                let more = match target.locations.len() {
                    1 => String::new(),
                    locations => format!(" with {locations} locations"),
                };
                self.said.push(format!("commit {}{more}", self.shuffle_name(target.shuffle)));
                self.answers.push_back(Event::ShuffleCommitted { shuffle: target.shuffle, outcome });
            }
            Effect::ReleaseShuffles { shuffles, .. } => {
                let line =
                    shuffles.iter().map(|shuffle| self.shuffle_name(*shuffle)).collect::<Vec<_>>().join(" ");
                self.said.push(format!("release {line}"));
            }
            Effect::ReleaseJob { job } => self.said.push(format!("release all of {}", self.job_name(*job))),
            Effect::Dispatch(dispatch) => self.dispatched(dispatch),
            Effect::CancelAttempt { executor, attempt, .. } => {
                self.said.push(format!("stop {} on {executor}", self.attempt_name(*attempt)));
            }
            Effect::DisconnectExecutor { executor, .. } => self.said.push(format!("disconnect {executor}")),
            Effect::KeepResult { job, statement, result, .. } => {
                let line = format!("result {}.{statement} of {} rows", self.job_name(*job), result.rows);
                self.said.push(line);
            }
            Effect::PublishSink { job, statement, files } => {
                let target = "t".to_owned();
                let outputs = Outputs { target, files: files.len() as u64, rows: 0, bytes: 0 };
                let outcome = self.outcome("publish").map(|()| outputs);
                self.said.push(format!(
                    "publish {} files of {}.{statement}",
                    files.len(),
                    self.job_name(*job)
                ));
                self.answers.push_back(Event::SinkPublished { job: *job, statement: *statement, outcome });
            }
            Effect::DiscardSink { job, statement } => {
                self.said.push(format!("discard {}.{statement}", self.job_name(*job)));
            }
            Effect::ApplyCatalog { job, statement } => {
                let outcome = self.outcome("catalog");
                self.said.push(format!("apply catalog {}.{statement}", self.job_name(*job)));
                self.answers.push_back(Event::CatalogApplied { job: *job, statement: *statement, outcome });
            }
            Effect::Forget { job } => self.said.push(format!("forget {}", self.job_name(*job))),
            Effect::InsertJob(_)
            | Effect::UpdateJob(_)
            | Effect::AnswerCancel { .. }
            | Effect::PublishStatus(_)
            | Effect::ForgetJob { .. }
            | Effect::Log { .. } => {}
        }
    }

    fn say_answer(&mut self, answer: &Result<crate::effect::Accepted, crate::effect::SubmitError>) {
        match answer {
            Ok(accepted) if accepted.reattached => {
                self.said.push(format!("it is {} try {}", self.job_name(accepted.job), accepted.try_number));
            }
            Ok(accepted) if accepted.try_number > 1 => self.said.push(format!("try {}", accepted.try_number)),
            Ok(_) => {}
            Err(error) => {
                let line = self.readable(&error.to_string());
                self.said.push(line);
            }
        }
    }

    fn outcome(&mut self, what: &str) -> Result<(), JobFailure> {
        match self.faults.remove(what) {
            true => Err(JobFailure::new(FailureClass::Infrastructure, format!("{what} went wrong"), None)),
            false => Ok(()),
        }
    }

    fn dispatched(&mut self, dispatch: &Dispatch) {
        let Dispatch { executor, incarnation, attempt, .. } = dispatch;
        assert!(self.journaled.contains(attempt), "{attempt} is journaled before it is told");
        let host = Host { executor: executor.clone(), incarnation: *incarnation };
        assert!(self.attempts.insert(*attempt, host).is_none(), "{attempt} is dispatched once");
        self.newest.insert(attempt.task, *attempt);
        self.said.push(format!("run {} on {executor}", self.attempt_name(*attempt)));
    }

    fn plan(&mut self, job: JobId, statement: StatementIndex, first: StageId) {
        let text = self.plans[&job][statement.0 as usize].clone();
        let outcome = self.outcome("plan").map(|()| {
            let work = self.work(job, &text, first);
            let log = Box::new(StatementPlanned {
                statement,
                sql: text,
                kind: String::new(),
                logical_plan: String::new(),
                physical_plan: String::new(),
                stages: Vec::new(),
            });
            StatementPlan { work, log }
        });
        self.answers.push_back(Event::StatementPlanned { job, statement, outcome });
    }

    /// `x:2 > y:3 > r:1` is a chain of stages; the last one's name says what it makes: `files`, `table` (files, and
    /// then a catalog change), `r` (rows in the report), anything else a result in the shuffle.
    fn work(&mut self, job: JobId, text: &str, first: StageId) -> StatementWork {
        match text {
            "catalog" => return StatementWork::Catalog,
            "rows" => return StatementWork::Rows { rows: 3 },
            "set" => return StatementWork::Set { key: "k".to_owned(), value: "v".to_owned() },
            _ => {}
        }
        let names: Vec<_> = text.split('>').map(|stage| stage.trim().split_once(':').unwrap()).collect();
        let last = names.len() - 1;
        let mut stages = Vec::new();
        for (position, (name, tasks)) in names.iter().enumerate() {
            let stage = StageId(first.0 + position as u32);
            let output = match *name {
                _ if position < last => StageOutput::Shuffle,
                "files" | "table" => StageOutput::Files,
                _ => StageOutput::Result,
            };
            let inputs = (position > 0).then(|| (StageId(stage.0 - 1), ReadMode::All)).into_iter().collect();
            let (name, tasks) = ((*name).to_owned(), tasks.parse().unwrap());
            self.stage_names.insert((job, stage), name.clone());
            self.outputs.insert((job, stage), output);
            stages.push(StageSpec { stage, name, inputs, tasks, output_partitions: 1, output });
        }
        match names[last].0 {
            name @ ("files" | "table") => {
                StatementWork::Sink { stages, target: "t".to_owned(), changes_catalog: name == "table" }
            }
            _ => StatementWork::Query { stages },
        }
    }

    fn verdicts(&mut self, target: &ShuffleTarget) -> Vec<(Location, CommitVerdict)> {
        let failed = self.faults.remove("verdict");
        let verdict = |_: &Location| match failed {
            true => CommitVerdict::Failed { reason: "disk error".to_owned() },
            false => CommitVerdict::Committed { stored_bytes: 128 },
        };
        target
            .locations
            .iter()
            .flat_map(Location::copies)
            .map(|copy| (copy.clone(), verdict(&copy)))
            .collect()
    }

    pub fn job_name(&self, job: JobId) -> String {
        self.jobs.iter().find(|(_, id)| **id == job).map_or_else(|| job.to_string(), |(name, _)| name.clone())
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

fn state_word(state: penstock_protocol::event::JobState) -> String {
    format!("{state:?}").to_lowercase()
}

fn seconds_of(text: &str) -> Duration {
    Duration::from_secs_f64(text.trim_end_matches('s').parse().unwrap())
}

fn location(partition: PartitionIndex, epoch: Epoch) -> Location {
    let worker = Arc::new(WorkerAddress {
        worker: WorkerId::from("w1"),
        incarnation: Incarnation(1),
        control: String::new(),
        data: String::new(),
    });
    Location::on(partition, epoch, worker)
}

fn target(shuffle: ShuffleId, partitions: u32) -> ShuffleTarget {
    let location = |partition| location(PartitionIndex(partition), Epoch(0));
    ShuffleTarget { shuffle, locations: (0..partitions).map(location).collect() }
}
