//! Statements one after the other: plan, run, publish, next.
//!
//! Each answer names what it is for; an answer that nobody waits for any more changes nothing, and what it brought is
//! given back.

use std::{sync::Arc, time::Duration};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{self, JobState},
    ids::{ShuffleId, StageId, StatementIndex},
    shuffle::{CommitVerdict, Location, ShuffleSource, ShuffleTarget},
    task::FailureClass,
};

use super::{
    End, FailurePlace, Job, JobFailure, Limits, Outputs, Phase, StageOutput, StatementKind, StatementPlan,
    StatementResult, StatementState, StatementText, StatementWork, growing, history,
    stage::{self, Complete, Stage, Trouble},
    statement::{Statement, check_graph},
};
use crate::{effect::Effect, journal::Fact, outbox::Outbox};

impl Job {
    pub fn prepared(&mut self, outcome: Result<Vec<StatementText>, JobFailure>, out: &mut Outbox) {
        if self.phase != Phase::Preparing {
            return;
        }
        let texts = match outcome {
            Ok(texts) => texts,
            Err(failure) => return self.end(End::failed(failure), out),
        };
        self.phase = Phase::Running;
        self.statements =
            (0..).map(StatementIndex).zip(texts).map(|(i, text)| Statement::new(i, text.sql)).collect();
        out.journal(self.id, Fact::Prepared { statements: self.statements.len() as u32 });
        self.plan_current(out);
    }

    fn plan_current(&mut self, out: &mut Outbox) {
        let Some(statement) = self.statements.get_mut(self.current) else {
            return self.finish(End { state: JobState::Succeeded, failure: None }, out);
        };
        statement.state = StatementState::Planning;
        out.push(Effect::PlanStatement {
            job: self.id,
            statement: statement.index,
            first_stage: self.next_stage,
            settings: self.settings.clone(),
        });
    }

    /// The statement that an answer is for, if it is the current one and in the state that waits for this answer.
    pub(super) fn awaiting(
        &mut self,
        index: StatementIndex,
        state: StatementState,
    ) -> Option<&mut Statement> {
        if self.phase != Phase::Running {
            return None;
        }
        self.statements
            .get_mut(self.current)
            .filter(|statement| statement.index == index && statement.state == state)
    }

    pub fn planned(
        &mut self,
        index: StatementIndex,
        outcome: Result<StatementPlan, JobFailure>,
        out: &mut Outbox,
    ) {
        let Some(statement) = self.awaiting(index, StatementState::Planning) else { return };
        let plan = match outcome {
            Ok(plan) => plan,
            Err(mut failure) => {
                failure.place.statement = Some(index.0);
                return self.end(End::failed(failure), out);
            }
        };
        let kind = plan.work.kind();
        statement.kind = Some(kind);
        statement.state = StatementState::Running;
        match &plan.work {
            StatementWork::Sink { target, changes_catalog, .. } => {
                statement.changes_catalog = *changes_catalog;
                statement.outputs = Some(Outputs { target: target.clone(), ..Outputs::default() });
            }
            StatementWork::Rows { .. } => statement.has_result = true,
            StatementWork::Query { .. } | StatementWork::Catalog | StatementWork::Set { .. } => {}
        }
        out.log(self.id, event::Event::StatementPlanned(*plan.log));
        match plan.work {
            StatementWork::Query { stages } => self.run_stages(index, kind, stages, StageOutput::Result, out),
            StatementWork::Sink { stages, .. } => {
                self.run_stages(index, kind, stages, StageOutput::Files, out)
            }
            StatementWork::Catalog => {
                out.journal(self.id, Fact::Planned { statement: index, kind, stages: Vec::new() });
                self.apply_catalog(out);
            }
            StatementWork::Rows { rows } => self.finish_statement(rows, out),
            StatementWork::Set { key, value } => {
                Arc::make_mut(&mut self.settings).insert(key, value);
                self.finish_statement(0, out);
            }
        }
    }

    fn run_stages(
        &mut self,
        index: StatementIndex,
        kind: StatementKind,
        stages: Vec<super::StageSpec>,
        root: StageOutput,
        out: &mut Outbox,
    ) {
        if let Err(error) = check_graph(self.next_stage, &stages, root) {
            let place = FailurePlace { statement: Some(index.0), ..FailurePlace::default() };
            let failure =
                JobFailure::new(FailureClass::Internal, error.to_string(), Some("please report this plan"));
            return self.end(End::failed(failure.at(place)), out);
        }
        out.journal(self.id, Fact::Planned { statement: index, kind, stages: stages.clone() });
        let statement = &mut self.statements[self.current];
        statement.first_stage = self.next_stage;
        statement.end_stage = StageId(self.next_stage.0 + stages.len() as u32);
        self.next_stage = statement.end_stage;
        let stages = stages.into_iter().map(|spec| (spec.stage, Stage::new(self.id, index, spec)));
        self.stages.extend(stages);
        self.begin_stages(out);
    }

    /// Begins every stage of the current statement whose inputs are there.
    pub(super) fn begin_stages(&mut self, out: &mut Outbox) {
        let range = self.statements[self.current].stages();
        let can_begin = |stage: &&Stage| {
            let inputs_done = stage.spec.inputs.iter().all(|(input, _)| self.stages[input].is_done());
            stage.is_waiting() && inputs_done
        };
        let begin: Vec<_> = self
            .stages
            .range(range)
            .map(|(_, stage)| stage)
            .filter(can_begin)
            .map(|stage| stage.spec.stage)
            .collect();
        for id in begin {
            let stage = self.stages.get_mut(&id).expect("just seen");
            if !stage.has_begun() {
                out.log(self.id, event::Event::StageStarted { stage: id });
            }
            stage.begin(out.now);
            match stage.is_reserving() {
                true => reserve(stage, out),
                false => self.tasks_became_ready(id, out),
            }
        }
    }

    pub fn reserved(
        &mut self,
        shuffle: ShuffleId,
        outcome: Result<Arc<ShuffleTarget>, JobFailure>,
        limits: &Limits,
        out: &mut Outbox,
    ) {
        let id = shuffle.exchange;
        let Some(stage) = self.stages.get_mut(&id) else { return release(shuffle, out) };
        let asked_at = stage.call().map(|call| call.since);
        match outcome {
            Ok(target) if stage.reserved(out.now, &target) => {
                let waited = asked_at.map_or(Duration::ZERO, |since| out.now - since);
                out.log(self.id, history::placed(&target, waited.as_millis() as u64));
                out.journal(self.id, Fact::Reserved { target: (*target).clone() });
                self.tasks_became_ready(id, out);
            }
            // The same answer twice is harmless; one for a run that nobody uses is room to give back.
            Ok(_) if stage.uses(shuffle) => {}
            Ok(_) => release(shuffle, out),
            Err(failure) if stage.awaits_reservation(shuffle) => self.call_failed(id, failure, limits, out),
            Err(_) => {}
        }
    }

    pub fn committed(
        &mut self,
        shuffle: ShuffleId,
        outcome: Result<Vec<(Location, CommitVerdict)>, JobFailure>,
        limits: &Limits,
        out: &mut Outbox,
    ) {
        let Some(stage) = self.stages.get_mut(&shuffle.exchange) else { return };
        let asked_at = stage.call().map(|call| call.since);
        match outcome {
            Ok(verdicts) => match stage.committed(out.now, shuffle, &verdicts) {
                None => {}
                Some(Ok(source)) => {
                    let took = asked_at.map_or(Duration::ZERO, |since| out.now - since);
                    let (added, took_ms) = (stage.epochs_added(), took.as_millis() as u64);
                    out.log(self.id, history::committed(&source, &verdicts, added, took_ms));
                    self.stage_committed(shuffle.exchange, &source, out);
                }
                Some(Err(loss)) => self.shuffle_lost(shuffle, loss.to_string(), limits, out),
            },
            Err(failure) if stage.awaits_commit(shuffle) => {
                self.call_failed(shuffle.exchange, failure, limits, out)
            }
            Err(_) => {}
        }
    }

    /// A call to the shuffle service failed as a whole: again later, or the end.
    fn call_failed(&mut self, id: StageId, failure: JobFailure, limits: &Limits, out: &mut Outbox) {
        let stage = self.stages.get_mut(&id).expect("the caller saw it");
        let call = stage.call().expect("the caller saw that it waits");
        let (since, tries) = (call.since, call.tries);
        let next_try = call.next_try(out.now, limits).filter(|_| failure.failure.class.retry_may_help());
        if next_try.is_some() {
            call.retry_at = next_try;
            let trouble = Trouble { since, message: failure.failure.message };
            if stage.trouble.as_ref() != Some(&trouble) {
                out.log(self.id, event::Event::Warning { message: trouble.message.clone() });
                stage.trouble = Some(trouble);
            }
            return;
        }
        let mut failure = failure.at(self.place(id));
        if tries > 1 {
            let waited = (out.now - since).as_secs();
            failure.failure.message += &format!(" ({tries} tries in {waited} s)");
        }
        self.end(End::failed(failure), out);
    }

    /// Where in the job something happened.
    pub(super) fn place(&self, stage: StageId) -> FailurePlace {
        let known = self.stages.get(&stage);
        FailurePlace {
            statement: known.map(|stage| stage.statement.0),
            stage: Some(stage.0),
            stage_name: known.map(|stage| stage.spec.name.clone()),
            ..FailurePlace::default()
        }
    }

    fn tasks_became_ready(&mut self, id: StageId, out: &mut Outbox) {
        self.runnable.insert(id);
        // A stage without tasks is complete right away.
        self.check_complete(id, out);
    }

    /// Goes on when all tasks of a stage are won.
    pub(super) fn check_complete(&mut self, id: StageId, out: &mut Outbox) {
        let stage = self.stages.get_mut(&id).expect("the caller saw it");
        let complete = stage.complete(out.now);
        if complete.is_some() {
            let shuffle = stage.shuffle();
            stage.stop_growing().into_iter().for_each(|one| growing::answer(shuffle, one, out));
        }
        match complete {
            None => {}
            Some(Complete::Commit { target, winners }) => out.push(Effect::CommitShuffle { target, winners }),
            Some(Complete::Done) => self.stage_done(id, out),
        }
    }

    fn stage_committed(&mut self, id: StageId, source: &ShuffleSource, out: &mut Outbox) {
        let winners = source.winners.to_vec();
        out.journal(
            self.id,
            Fact::Committed { shuffle: source.shuffle, winners, partitions: source.partitions.clone() },
        );
        out.log(self.id, history::exchanged(source));
        self.stage_done(id, out);
    }

    fn stage_done(&mut self, id: StageId, out: &mut Outbox) {
        self.runnable.remove(&id);
        let finished = event::StageFinished { stage: id, state: "succeeded".to_owned() };
        out.log(self.id, event::Event::StageFinished(finished));
        let statement = &self.statements[self.current];
        if id != statement.root() {
            return self.begin_stages(out);
        }
        match statement.kind {
            Some(StatementKind::Sink) => self.publish_files(id, out),
            _ => self.keep_result(id, out),
        }
    }

    fn keep_result(&mut self, root: StageId, out: &mut Outbox) {
        let stage = &self.stages[&root];
        let inline = stage.inline_rows();
        let shuffle = stage.source().cloned();
        let pushed: u64 = shuffle.iter().flat_map(|source| &source.partitions).map(|p| p.totals.rows).sum();
        let rows = pushed + inline.iter().map(|inline| inline.rows).sum::<u64>();
        self.holds_shuffles |= shuffle.is_some();
        let statement = &mut self.statements[self.current];
        statement.has_result = true;
        let result = Arc::new(StatementResult { rows, inline, shuffle });
        out.push(Effect::KeepResult { job: self.id, statement: statement.index, result });
        self.finish_statement(rows, out);
    }

    pub(super) fn finish_statement(&mut self, rows: u64, out: &mut Outbox) {
        let statement = &mut self.statements[self.current];
        statement.state = StatementState::Succeeded;
        statement.rows = Some(rows);
        if statement.kind == Some(StatementKind::Query) {
            self.totals.rows += rows;
        }
        let index = statement.index;
        let statement_is_sink = statement.kind == Some(StatementKind::Sink);
        out.journal(self.id, Fact::StatementFinished { statement: index, rows });
        out.log(self.id, event::Event::StatementFinished { statement: index });
        if statement_is_sink {
            // What attempts left behind that did not win.
            out.push(Effect::DiscardSink { job: self.id, statement: index });
        }
        self.release_statement(out);
        self.current += 1;
        match self.stopping.take() {
            Some(end) => self.finish(end, out),
            None => self.plan_current(out),
        }
    }

    /// Gives back every shuffle of the current statement but its result.
    fn release_statement(&mut self, out: &mut Outbox) {
        let statement = &self.statements[self.current];
        let mut shuffles = Vec::new();
        for (_, stage) in self.stages.range_mut(statement.stages()) {
            let is_result = stage.spec.output == StageOutput::Result && stage.source().is_some();
            shuffles.extend(stage.room().filter(|_| !is_result));
            stage.drop_outputs();
        }
        if !shuffles.is_empty() {
            out.log(self.id, history::released(&shuffles));
            out.push(Effect::ReleaseShuffles { job: self.id, shuffles });
        }
    }

    /// The job ends in the middle of its current statement, if it has one.
    pub(super) fn stop_statement(&mut self, state: JobState, out: &mut Outbox) {
        let Some(statement) = self.statements.get_mut(self.current) else { return };
        let is_sink = statement.kind == Some(StatementKind::Sink);
        let index = statement.index;
        statement.state = match state {
            JobState::Cancelled => StatementState::Cancelled,
            _ => StatementState::Failed,
        };
        self.stop_stages(state, out);
        if is_sink {
            out.push(Effect::DiscardSink { job: self.id, statement: index });
        }
        self.release_statement(out);
        for skipped in &mut self.statements[self.current + 1..] {
            skipped.state = StatementState::Skipped;
        }
    }

    /// Time went on. Whether tasks became runnable.
    pub fn tick(&mut self, now: Timestamp, out: &mut Outbox) -> bool {
        if self.phase != Phase::Running || self.current >= self.statements.len() {
            return false;
        }
        let mut woken = false;
        for (_, stage) in self.stages.range_mut(self.statements[self.current].stages()) {
            woken |= stage.wake(now);
            let due = stage.call().and_then(|call| call.retry_at).is_some_and(|at| at <= now);
            if due {
                call_again(stage, out);
            }
        }
        woken
    }
}

fn reserve(stage: &Stage, out: &mut Outbox) {
    out.push(Effect::ReserveShuffle { shuffle: stage.shuffle(), partitions: stage.spec.output_partitions });
}

fn release(shuffle: ShuffleId, out: &mut Outbox) {
    out.push(Effect::ReleaseShuffles { job: shuffle.job, shuffles: vec![shuffle] });
}

fn call_again(stage: &mut Stage, out: &mut Outbox) {
    if !stage.is_committing() {
        // The outcome of the failed call is not known: it may have taken room.
        release(stage.shuffle(), out);
    }
    stage.call_again();
    match &stage.phase {
        stage::Phase::Committing { target, winners, .. } => {
            out.push(Effect::CommitShuffle { target: target.clone(), winners: winners.clone() });
        }
        _ => reserve(stage, out),
    }
}
