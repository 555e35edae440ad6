//! A shuffle grows while its stage runs: executors ask for new epochs, which are journaled before anybody hears of them.

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
                stage.grew();
                out.log(self.id, history::grew(out.now, shuffle, &locations, reasons));
                out.journal(self.id, Fact::Extended { shuffle, locations });
                answers
            }
            Err(failure) => growth.not_extended(wanted, &failure.failure.message),
        };
        answers.into_iter().for_each(|one| answer(shuffle, one, out));
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
