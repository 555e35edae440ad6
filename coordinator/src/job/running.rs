//! Attempts of a job: dispatched, reported, lost, stopped.
//!
//! Reports may come late, twice or from a former life of an executor: what does not fit is ignored.

use std::{collections::BTreeMap, sync::Arc};

use penstock_protocol::{
    event::{self, JobState},
    ids::{AttemptId, AttemptNumber, ExecutorId, StageId, TaskId, TaskIndex},
    shuffle::ShuffleSource,
    task::{AttemptMetrics, AttemptOutcome, AttemptReport, Failure, FailureClass, TaskOutput},
    wire::executor::AttemptProgress,
};

use super::{
    AttemptState, End, FailurePlace, Host, Job, JobFailure, Limits, StageOutput, exchange, task::Verdict,
};
use crate::{
    effect::{Dispatch, Effect},
    journal::{DispatchedAttempt, Fact, WinnerOutput},
    outbox::Outbox,
};

impl Job {
    /// Stages with tasks that may run now: the tasks, and the executors that some of them should avoid.
    pub fn runnable(
        &self,
    ) -> impl Iterator<
        Item = (StageId, &std::collections::BTreeSet<TaskIndex>, &BTreeMap<TaskIndex, Vec<ExecutorId>>),
    > {
        self.runnable.iter().filter_map(|id| {
            let (ready, avoid) = self.stages[id].runnable();
            (!ready.is_empty()).then_some((*id, ready, avoid))
        })
    }

    pub fn running(&self) -> u32 {
        self.runnable.iter().map(|id| self.stages[id].counts().running).sum()
    }

    /// Starts attempts on hosts that have a slot for them. All numbers are journaled before any of them is told.
    pub fn dispatch(
        &mut self,
        assignments: Vec<(StageId, TaskIndex, Host)>,
        out: &mut Outbox,
    ) -> Vec<(AttemptId, Host)> {
        assert!(!self.is_ending(), "nothing is dispatched for a job that ends");
        let mut started = Vec::with_capacity(assignments.len());
        let mut journaled = Vec::with_capacity(assignments.len());
        let mut dispatches = Vec::with_capacity(assignments.len());
        let mut inputs: BTreeMap<StageId, Vec<Arc<ShuffleSource>>> = BTreeMap::new();
        for (id, index, host) in assignments {
            let inputs = inputs.entry(id).or_insert_with(|| self.inputs(id)).clone();
            let stage = self.stages.get_mut(&id).expect("only a stage of this job is scheduled");
            let (number, queued_ms) = stage.start(out.now, index, host.clone());
            let attempt = AttemptId { task: TaskId { job: self.id, stage: id, index }, number };
            let Host { executor, incarnation } = host.clone();
            journaled.push(DispatchedAttempt {
                stage: id,
                task: index,
                attempt: number,
                executor: executor.clone(),
                incarnation,
            });
            self.hosts.insert(executor.clone(), incarnation);
            out.log(
                self.id,
                event::Event::AttemptStarted {
                    stage: id,
                    task: index,
                    attempt: number,
                    executor: executor.clone(),
                    queued_ms,
                },
            );
            let target = stage.target().expect("only a running stage has ready tasks").clone();
            let statement = stage.statement;
            dispatches.push(Effect::Dispatch(Box::new(Dispatch {
                executor,
                incarnation,
                attempt,
                statement,
                inputs,
                target,
            })));
            started.push((attempt, host));
        }
        self.starved_since = None;
        out.journal(self.id, Fact::Dispatched { attempts: journaled });
        dispatches.into_iter().for_each(|dispatch| out.push(dispatch));
        started
    }

    fn inputs(&self, stage: StageId) -> Vec<Arc<ShuffleSource>> {
        let source = |input: &StageId| {
            self.stages[input].source().expect("a running stage's inputs are committed").clone()
        };
        self.stages[&stage].spec.inputs.iter().map(|(input, _)| source(input)).collect()
    }

    /// An attempt got on, says its executor.
    pub fn advance(&mut self, host: &Host, progress: &AttemptProgress) {
        let TaskId { stage, index, .. } = progress.attempt.task;
        let task = self.stages.get_mut(&stage).and_then(|stage| stage.task(index));
        if let Some(attempt) = task.and_then(|task| task.attempt(progress.attempt.number, host)) {
            attempt.advance(progress.rows_in, progress.rows_out);
        }
    }

    /// An attempt ended, says its executor.
    pub fn report(&mut self, host: &Host, report: AttemptReport, limits: &Limits, out: &mut Outbox) {
        let TaskId { stage: id, index, .. } = report.attempt.task;
        let number = report.attempt.number;
        let Some(stage) = self.stages.get_mut(&id) else { return };
        let outcome = check_output(report.outcome, &stage.spec);
        let Some(task) = stage.task(index) else { return };
        let Some(attempt) = task.attempt(number, host) else { return };
        if !attempt.holds_slot() {
            return;
        }
        let was_running = attempt.is_running();
        attempt.keep_metrics(&report.metrics);
        let (state, failure) = match &outcome {
            AttemptOutcome::Succeeded(_) => (AttemptState::Succeeded, None),
            AttemptOutcome::Failed(failure) => (AttemptState::Failed, Some(failure.clone())),
            AttemptOutcome::Cancelled => (AttemptState::Cancelled, None),
        };
        let verdict = match outcome {
            AttemptOutcome::Succeeded(output) => {
                let won = winner_fact(id, index, number, &output);
                let verdict = task.succeed(out.now, number, host, output);
                if verdict == Verdict::Won {
                    out.journal(self.id, won);
                }
                verdict
            }
            AttemptOutcome::Failed(failure) => task.fail(out.now, number, host, failure, limits),
            AttemptOutcome::Cancelled => {
                let failure = handed_back(&host.executor);
                task.lose(out.now, number, host, AttemptState::Cancelled, failure, limits)
            }
        };
        stage.settle(out.now, index, was_running, &verdict);
        if !was_running {
            // It was stopped, and logged as such, before it ended.
            return;
        }
        self.totals.add_attempt(&report.metrics);
        let winner = verdict == Verdict::Won;
        self.log_end(report.attempt, &host.executor, state, winner, failure, Some(report.metrics), out);
        self.follow(report.attempt, host, verdict, out);
    }

    /// An attempt ended with its executor.
    pub fn lose(&mut self, host: &Host, attempt: AttemptId, reason: &str, limits: &Limits, out: &mut Outbox) {
        let TaskId { stage: id, index, .. } = attempt.task;
        let Some(stage) = self.stages.get_mut(&id) else { return };
        let Some(task) = stage.task(index) else { return };
        let Some(was_running) = task.attempt(attempt.number, host).map(|attempt| attempt.is_running()) else {
            return;
        };
        let failure = Failure {
            class: FailureClass::Infrastructure,
            message: format!("executor {} was lost: {reason}", host.executor),
            advice: Some("look at its log for the cause; it may have run out of memory".to_owned()),
            lost_shuffle: None,
        };
        let verdict = task.lose(out.now, attempt.number, host, AttemptState::Lost, failure.clone(), limits);
        stage.settle(out.now, index, was_running, &verdict);
        if was_running {
            self.log_end(attempt, &host.executor, AttemptState::Lost, false, Some(failure), None, out);
            self.follow(attempt, host, verdict, out);
        }
    }

    /// What the end of an attempt means for the job.
    fn follow(&mut self, attempt: AttemptId, host: &Host, verdict: Verdict, out: &mut Outbox) {
        match verdict {
            Verdict::Won => self.check_complete(attempt.task.stage, out),
            Verdict::GiveUp(failure) => {
                let place = FailurePlace {
                    task: Some(attempt.task.index.0),
                    attempt: Some(attempt.number.0),
                    executor: Some(host.executor.to_string()),
                    ..self.place(attempt.task.stage)
                };
                self.end(End::failed(JobFailure::from(failure).at(place)), out);
            }
            Verdict::Ignored | Verdict::Again(_) => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of one log record")]
    fn log_end(
        &self,
        attempt: AttemptId,
        executor: &ExecutorId,
        state: AttemptState,
        winner: bool,
        failure: Option<Failure>,
        metrics: Option<AttemptMetrics>,
        out: &mut Outbox,
    ) {
        let state = match state {
            AttemptState::Succeeded => "succeeded",
            AttemptState::Failed => "failed",
            AttemptState::Lost => "lost",
            AttemptState::Cancelled | AttemptState::Running | AttemptState::Stopping => "cancelled",
        };
        out.log(
            self.id,
            event::Event::AttemptFinished(Box::new(event::AttemptFinished {
                stage: attempt.task.stage,
                task: attempt.task.index,
                attempt: attempt.number,
                executor: executor.clone(),
                state: state.to_owned(),
                winner,
                failure,
                metrics,
            })),
        );
    }

    /// The job ends: no attempt of it counts any more.
    pub(super) fn stop_stages(&mut self, state: JobState, out: &mut Outbox) {
        let range = self.statements[self.current].stages();
        let mut stopped = Vec::new();
        for (id, stage) in self.stages.range_mut(range) {
            let was_open = !stage.is_done() && stage.has_begun();
            stopped.push((*id, was_open, stage.stop(out.now)));
        }
        self.runnable.clear();
        let state = if state == JobState::Cancelled { "cancelled" } else { "failed" };
        for (id, was_open, attempts) in stopped {
            for (index, number, host) in attempts {
                let attempt = AttemptId { task: TaskId { job: self.id, stage: id, index }, number };
                self.log_end(attempt, &host.executor, AttemptState::Cancelled, false, None, None, out);
                out.push(Effect::CancelAttempt {
                    executor: host.executor,
                    incarnation: host.incarnation,
                    attempt,
                });
            }
            if was_open {
                let finished = event::StageFinished { stage: id, state: state.to_owned() };
                out.log(self.id, event::Event::StageFinished(finished));
            }
        }
    }
}

fn handed_back(executor: &ExecutorId) -> Failure {
    Failure {
        class: FailureClass::Infrastructure,
        message: format!("executor {executor} handed the attempt back"),
        advice: None,
        lost_shuffle: None,
    }
}

fn winner_fact(stage: StageId, task: TaskIndex, attempt: AttemptNumber, output: &TaskOutput) -> Fact {
    let output = match output {
        TaskOutput::Shuffle(output) => WinnerOutput::Shuffle(output.clone()),
        TaskOutput::Inline { rows, .. } => WinnerOutput::Inline { rows: *rows },
        TaskOutput::Files(files) => WinnerOutput::Files(files.clone()),
    };
    Fact::Won { stage, task, attempt, output }
}

/// A success with an output that does not fit the stage is a failure of the executor.
fn check_output(outcome: AttemptOutcome, spec: &super::StageSpec) -> AttemptOutcome {
    let AttemptOutcome::Succeeded(output) = &outcome else { return outcome };
    let fits = match (spec.output, output) {
        (StageOutput::Shuffle | StageOutput::Result, TaskOutput::Shuffle(output)) => {
            exchange::is_sound(output, spec.output_partitions)
        }
        (StageOutput::Result, TaskOutput::Inline { .. }) | (StageOutput::Files, TaskOutput::Files(_)) => true,
        _ => false,
    };
    if fits {
        return outcome;
    }
    AttemptOutcome::Failed(Failure {
        class: FailureClass::Internal,
        message: format!(
            "the attempt reported an output that does not fit stage {} ({:?})",
            spec.stage, spec.output
        ),
        advice: Some("please report this".to_owned()),
        lost_shuffle: None,
    })
}
