//! A shuffle grows while its stage runs: executors ask for new epochs, which are journaled before anybody hears of them.
//! What they have left is closed, so that shuffle workers may leave before the stage ends.

use std::{collections::BTreeSet, sync::Arc};

use penstock_protocol::{
    ids::{ShuffleId, WorkerId},
    shuffle::{Location, ShuffleTarget},
};

use super::{
    Host, Job, JobFailure,
    growth::{Answer, Asker, Wanted},
    history,
};
use crate::{effect::Effect, journal::Fact, outbox::Outbox};

impl Job {
    /// An executor needs new epochs; it is answered in any case.
    pub fn epochs_wanted(
        &mut self,
        shuffle: ShuffleId,
        asker: Asker,
        suspects: Vec<WorkerId>,
        out: &mut Outbox,
    ) {
        let Some(growth) = self.stages.get_mut(&shuffle.exchange).and_then(|stage| stage.growth(shuffle))
        else {
            return answer(shuffle, over(shuffle, asker), out);
        };
        match growth.ask(out.now, asker, &suspects) {
            Err(at_once) => answer(shuffle, at_once, out),
            Ok(wanted) if wanted.is_empty() => {}
            Ok(wanted) => out.push(Effect::ExtendShuffle { shuffle, wanted, suspects }),
        }
    }

    /// These shuffle workers leave, and should not have to wait for the end of a stage.
    pub fn workers_leave(&mut self, workers: &BTreeSet<WorkerId>, out: &mut Outbox) {
        for stage in self.stages.values_mut() {
            let shuffle = stage.shuffle();
            let Some(growth) = stage.growth(shuffle) else { continue };
            let wanted = growth.leave(out.now, workers);
            close(shuffle, growth.take_left(), out);
            if !wanted.is_empty() {
                // The masters know best who leaves; nobody has failed.
                out.push(Effect::ExtendShuffle { shuffle, wanted, suspects: Vec::new() });
            }
        }
    }

    pub fn extended(
        &mut self,
        shuffle: ShuffleId,
        wanted: &Wanted,
        outcome: Result<Vec<Location>, JobFailure>,
        out: &mut Outbox,
    ) {
        let Some(stage) = self.stages.get_mut(&shuffle.exchange) else { return };
        // What was reserved for a run that is over goes with its shuffle.
        let Some(growth) = stage.growth(shuffle) else { return };
        let answers = match outcome {
            Ok(locations) => {
                let answers = growth.extended(&locations);
                let reasons = growth.reasons(&locations);
                let left = growth.take_left();
                stage.grew();
                out.log(self.id, history::grew(out.now, shuffle, &locations, reasons));
                out.journal(self.id, Fact::Extended { shuffle, locations });
                close(shuffle, left, out);
                answers
            }
            Err(failure) => growth.not_extended(wanted, &failure.failure.message),
        };
        answers.into_iter().for_each(|one| answer(shuffle, one, out));
    }
}

fn close(shuffle: ShuffleId, locations: Vec<Location>, out: &mut Outbox) {
    if !locations.is_empty() {
        out.push(Effect::CloseEpochs { target: Arc::new(ShuffleTarget { shuffle, locations }) });
    }
}

/// A question about a shuffle to which nobody pushes any more.
pub fn over(shuffle: ShuffleId, asker: Asker) -> Answer {
    asker.hears(Err(format!("nothing is pushed to shuffle {shuffle} any more")))
}

pub fn answer(shuffle: ShuffleId, answer: Answer, out: &mut Outbox) {
    let Answer { host: Host { executor, incarnation }, request, outcome } = answer;
    let outcome = outcome.map(|locations| ShuffleTarget { shuffle, locations });
    out.push(Effect::AnswerEpochs { executor, incarnation, request, outcome });
}
