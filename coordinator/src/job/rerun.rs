//! What a lost shuffle costs: which stages run again, which wait, and when the job gives up.
//!
//! A pushed partition mixes the rows of all tasks, so the whole producing stage runs again, as a new run with a shuffle of
//! its own. Nobody reads the old one any more: that is settled in the step that hears of the loss. Readers that have
//! finished keep what they wrote only if the producer is proved to write the same rows again; otherwise they and all that
//! read them run again too. A statement whose result is handed out has no stage left that could lose anything: who reads
//! such a result gets the error.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use penstock_protocol::{
    event,
    ids::{ShuffleId, StageId},
    task::{AttemptOutcome, FailureClass},
};

use super::{End, Job, JobFailure, Limits, Rerun, StatementState, history, stage::Stage};
use crate::{effect::Effect, journal::Fact, outbox::Outbox};

/// The stages that a loss concerns, in their order.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    /// Start over.
    again: Vec<StageId>,
    /// Keep what is won and wait for their inputs.
    wait: Vec<StageId>,
}

/// `lost` is one of the `statement`'s stages.
fn scope(stages: &BTreeMap<StageId, Stage>, statement: Range<StageId>, lost: StageId) -> Scope {
    let mut scope = Scope { again: vec![lost], wait: Vec::new() };
    // Stages that may write other rows than their readers know.
    let mut differing = BTreeSet::new();
    if !stages[&lost].spec.deterministic {
        differing.insert(lost);
    }
    for (id, stage) in stages.range(statement).filter(|(id, _)| **id > lost) {
        let differs = stage.spec.inputs.iter().any(|(input, _)| differing.contains(input));
        if differs {
            // Also if it has no output now: readers may know what a former run of it wrote.
            differing.insert(*id);
        }
        let is_under_way = stage.is_reserving() || stage.target().is_some();
        if differs && stage.has_output() {
            scope.again.push(*id);
        } else if is_under_way && (differs || stage.reads(lost)) {
            scope.wait.push(*id);
        }
    }
    scope
}

impl Job {
    /// The shuffle that an attempt of this stage calls lost, if the stage reads or writes it now. What is said of any other
    /// is a failure like others.
    pub(super) fn lost_by(&self, stage: StageId, outcome: &AttemptOutcome) -> Option<ShuffleId> {
        let AttemptOutcome::Failed(failure) = outcome else { return None };
        let lost = failure.lost_shuffle.filter(|lost| lost.job == self.id)?;
        let is_own = lost.exchange == stage;
        let is_read = self.stages.get(&stage)?.reads(lost.exchange);
        let is_current = self.stages.get(&lost.exchange)?.uses(lost);
        (is_current && (is_own || is_read)).then_some(lost)
    }

    /// The data of a shuffle is gone: its stage starts over, with all that must go with it.
    pub(super) fn shuffle_lost(
        &mut self,
        lost: ShuffleId,
        reason: String,
        limits: &Limits,
        out: &mut Outbox,
    ) {
        let statement = &self.statements[self.current];
        let is_needed = statement.state == StatementState::Running
            && statement.stages().contains(&lost.exchange)
            && self.stages[&lost.exchange].uses(lost);
        if !is_needed {
            return;
        }
        let losses = self.stages.get_mut(&lost.exchange).expect("just seen").count_loss();
        let told = event::ShuffleLost { stage: lost.exchange, run: lost.run, reason: reason.clone(), losses };
        out.log(self.id, event::Event::ShuffleLost(told));
        if losses > limits.shuffle_reruns_max {
            return self.lost_too_often(lost, losses, &reason, out);
        }
        let Scope { again, wait } = scope(&self.stages, statement.stages(), lost.exchange);
        let mut released = Vec::new();
        for id in again {
            let reason = match id == lost.exchange {
                true => format!("its shuffle data was lost: {reason}"),
                false => format!("it builds on stage {}, which may write other rows now", lost.exchange),
            };
            released.extend(self.start_over(id, reason, out));
        }
        for id in wait {
            released.extend(self.hold(id, out));
        }
        if !released.is_empty() {
            out.log(self.id, history::released(&released));
            out.push(Effect::ReleaseShuffles { job: self.id, shuffles: released });
        }
        self.begin_stages(out);
    }

    fn start_over(&mut self, id: StageId, reason: String, out: &mut Outbox) -> Option<ShuffleId> {
        let stage = self.stages.get_mut(&id).expect("the caller saw it");
        let (stopped, released) = stage.start_over();
        let (run, stage_name) = (stage.run(), stage.spec.name.clone());
        self.runnable.remove(&id);
        self.tell_stopped(id, stopped, out);
        out.journal(self.id, Fact::RunAgain { stage: id, run, reason: reason.clone() });
        let again = event::StageRunAgain { stage: id, run, reason: reason.clone() };
        out.log(self.id, event::Event::StageRunAgain(again));
        self.reruns.push(Rerun { stage: id, stage_name, run, at: out.now, reason });
        released
    }

    fn hold(&mut self, id: StageId, out: &mut Outbox) -> Option<ShuffleId> {
        let stage = self.stages.get_mut(&id).expect("the caller saw it");
        let (stopped, released) = stage.hold();
        self.runnable.remove(&id);
        self.tell_stopped(id, stopped, out);
        released
    }

    fn lost_too_often(&mut self, lost: ShuffleId, losses: u32, reason: &str, out: &mut Outbox) {
        let place = self.place(lost.exchange);
        let name = place.stage_name.as_deref().unwrap_or_default();
        let times = if losses == 1 { "once".to_owned() } else { format!("{losses} times") };
        let message =
            format!("the shuffle data of stage {} ({name}) was lost {times}: {reason}", lost.exchange);
        let advice = "keep two copies of shuffle data, and look at the logs of the shuffle workers";
        let mut failure = JobFailure::new(FailureClass::Infrastructure, message, Some(advice));
        failure.failure.lost_shuffle = Some(lost);
        self.end(End::failed(failure.at(place)), out);
    }
}
