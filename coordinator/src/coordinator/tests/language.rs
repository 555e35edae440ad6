//! A world around the core that speaks in sentences.
//!
//! The shell's part (planning, the shuffle service, publication) answers at once unless told to fail or to hold its
//! answers; executors say only what the sentences make them say.
#![allow(clippy::unwrap_used)]

mod plan;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use expect_test::Expect;
use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{Event as LogEvent, StatementPlanned},
    ids::{
        AttemptId, AttemptNumber, Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, StageId,
        StatementIndex, TaskId, WorkerId,
    },
    shuffle::{
        CommitVerdict, EndedEpoch, EpochEnd, Location, MapOutput, PartitionTotals, ShuffleTarget,
        WorkerAddress,
    },
    task::{AttemptMetrics, AttemptOutcome, AttemptReport, Failure, FailureClass, TaskOutput, WrittenFile},
    wire::executor::{AttemptProgress, EpochsRequest, Heartbeat, NodeSample},
};

use crate::{
    coordinator::{Coordinator, Options, QueueOptions},
    effect::{Dispatch, Effect},
    event::{Event, RequestId},
    job::{
        AttemptTarget, Host, JobFailure, JobSpec, Outputs, Rerun, StageOutput, StatementPlan, StatementText,
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
                if let Fact::RunAgain { stage, run, .. } = &record.fact {
                    let shuffle = ShuffleId { job: *job, exchange: *stage, run: *run };
                    self.said.push(format!("again {}", self.shuffle_name(shuffle)));
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
                let outcome = match self.faults.remove("reserve") || self.refusing {
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
            Effect::Sample { job, event: LogEvent::ExecutorSampled { executor, cpu_used, .. }, .. } => {
                self.said.push(format!("{}: {executor} used {cpu_used} cores", self.job_name(*job)));
            }
            Effect::Sample { event, .. } => panic!("{event:?} is no sample"),
            Effect::SignOfLife { job, .. } => self.said.push(format!("{} lives", self.job_name(*job))),
            Effect::Forget { job } => self.said.push(format!("forget {}", self.job_name(*job))),
            Effect::InsertJob(_)
            | Effect::UpdateJob(_)
            | Effect::AnswerCancel { .. }
            | Effect::PublishStatus(_)
            | Effect::ForgetJob { .. }
            | Effect::ReportTaken { .. }
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
        let target = match &dispatch.target {
            AttemptTarget::Shuffle(target) | AttemptTarget::Result(target) => Some(target.shuffle),
            AttemptTarget::Files => None,
        };
        let shuffles = dispatch.inputs.iter().map(|input| input.shuffle).chain(target).collect();
        self.shuffles.insert(*attempt, shuffles);
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

    fn work(&mut self, job: JobId, text: &str, first: StageId) -> StatementWork {
        let work = plan::work(text, first);
        if let StatementWork::Query { stages } | StatementWork::Sink { stages, .. } = &work {
            for spec in stages {
                self.stage_names.insert((job, spec.stage), spec.name.clone());
                self.outputs.insert((job, spec.stage), spec.output);
            }
        }
        work
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
