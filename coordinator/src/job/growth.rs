//! The epochs of one stage's shuffle, and the executors that wait for new ones. Pure.
//!
//! An executor asks because an epoch takes nothing more. It is answered when the next one is reserved and journaled; all
//! who ask for the successor of one epoch get the same. Not here: reserving, journaling.

use std::collections::BTreeSet;

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    ids::{Epoch, PartitionIndex, WorkerId},
    shuffle::{EndedEpoch, Location, ShuffleTarget},
};
use penstock_shuffle_client::owner::Epochs;

use super::{
    Host,
    history::{Asked, Reasons},
};

#[derive(Debug)]
pub struct Growth {
    epochs: Epochs,
    waiting: Vec<Asker>,
    asked: Asked,
}

/// Somebody who waits for the next epochs of some partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    pub host: Host,
    /// The executor's own number.
    pub request: u64,
    pub ended: Vec<EndedEpoch>,
}

/// What an asker hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub host: Host,
    pub request: u64,
    pub outcome: Result<Vec<Location>, String>,
}

/// Epochs to be reserved.
pub type Wanted = Vec<(PartitionIndex, Epoch)>;

impl Growth {
    pub fn new(target: &ShuffleTarget) -> Self {
        Self { epochs: Epochs::new(target), waiting: Vec::new(), asked: Asked::default() }
    }

    /// Where attempts that begin now push to.
    pub fn newest(&self) -> ShuffleTarget {
        self.epochs.newest()
    }

    /// What has to be committed.
    pub fn all(&self) -> ShuffleTarget {
        self.epochs.all()
    }

    /// Epochs beyond the first of each partition.
    pub fn epochs_added(&self) -> u32 {
        self.epochs.added()
    }

    /// Takes a question: answered at once, or as soon as what is wanted is reserved. Asked again it replaces the first one.
    pub fn ask(&mut self, now: Timestamp, asker: Asker, suspects: &[WorkerId]) -> Result<Wanted, Answer> {
        self.waiting.retain(|other| (&other.host, other.request) != (&asker.host, asker.request));
        if let Some(answer) = self.answer(&asker) {
            return Err(answer);
        }
        match self.epochs.wanted(&asker.ended) {
            Ok(wanted) => {
                let partitions: BTreeSet<_> = wanted.iter().map(|(partition, _)| *partition).collect();
                for ended in asker.ended.iter().filter(|ended| partitions.contains(&ended.partition)) {
                    self.asked.wants(ended.partition, ended.why, now);
                }
                self.asked.suspects(suspects);
                self.waiting.push(asker);
                Ok(wanted)
            }
            Err(error) => Err(asker.hears(Err(error.to_string()))),
        }
    }

    /// Takes reserved locations in and answers those who waited for them.
    pub fn extended(&mut self, locations: &[Location]) -> Vec<Answer> {
        self.epochs.reserved(locations);
        let waiting = std::mem::take(&mut self.waiting);
        let (mut answers, mut left) = (Vec::new(), Vec::new());
        for asker in waiting {
            match self.answer(&asker) {
                Some(answer) => answers.push(answer),
                None => left.push(asker),
            }
        }
        self.waiting = left;
        answers
    }

    /// Why these, which are there now, were asked for.
    pub fn reasons(&mut self, locations: &[Location]) -> Reasons {
        self.asked.take(locations.iter().map(|location| location.partition))
    }

    /// These could not be reserved: who waited for one of them hears why.
    pub fn not_extended(&mut self, wanted: &[(PartitionIndex, Epoch)], reason: &str) -> Vec<Answer> {
        self.epochs.not_reserved(wanted);
        self.asked.take(wanted.iter().map(|(partition, _)| *partition));
        let concerned = |asker: &Asker| {
            asker.ended.iter().any(|ended| wanted.iter().any(|(partition, _)| *partition == ended.partition))
        };
        let (refused, left) = std::mem::take(&mut self.waiting).into_iter().partition(concerned);
        self.waiting = left;
        let refused: Vec<Asker> = refused;
        refused.into_iter().map(|asker| asker.hears(Err(reason.to_owned()))).collect()
    }

    /// Nobody pushes to this shuffle any more.
    pub fn close(&mut self, reason: &str) -> Vec<Answer> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|asker| asker.hears(Err(reason.to_owned()))).collect()
    }

    fn answer(&self, asker: &Asker) -> Option<Answer> {
        match self.epochs.newer(&asker.ended) {
            Ok(newer) => Some(asker.clone().hears(Ok(newer?))),
            Err(error) => Some(asker.clone().hears(Err(error.to_string()))),
        }
    }
}

impl Asker {
    pub fn hears(self, outcome: Result<Vec<Location>, String>) -> Answer {
        Answer { host: self.host, request: self.request, outcome }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use penstock_protocol::{
        ids::{Incarnation, JobId, ShuffleId, StageId},
        shuffle::{EpochEnd, WorkerAddress},
    };

    use super::*;

    fn location(partition: u32, epoch: u32) -> Location {
        let (control, data) = (String::new(), String::new());
        let worker = WorkerAddress { worker: "w".into(), incarnation: Incarnation(1), control, data };
        Location::on(PartitionIndex(partition), Epoch(epoch), Arc::new(worker))
    }

    fn asker(executor: &str, ended: &[(u32, EpochEnd)]) -> Asker {
        let host = Host { executor: executor.into(), incarnation: Incarnation(1) };
        let ended = ended.iter().map(|(partition, why)| EndedEpoch {
            partition: PartitionIndex(*partition),
            epoch: Epoch(0),
            why: *why,
        });
        Asker { host, request: 1, ended: ended.collect() }
    }

    // The first who asks says why; others who leave the same epoch add nothing.
    #[test]
    fn each_new_epoch_has_the_reason_of_the_first_who_asked() {
        let shuffle = ShuffleId { job: JobId(uuid::Uuid::nil()), exchange: StageId(0), run: 0 };
        let locations = vec![location(0, 0), location(1, 0)];
        let mut growth = Growth::new(&ShuffleTarget { shuffle, locations });
        let at = Timestamp::from_millis;
        let first = asker("e1", &[(0, EpochEnd::Grown), (1, EpochEnd::WorkerLost)]);
        growth.ask(at(5), first, &["w".into()]).expect("it waits");
        growth.ask(at(7), asker("e2", &[(0, EpochEnd::Full)]), &[]).expect("it waits");

        let reserved = [location(0, 1), location(1, 1)];
        assert_eq!(growth.extended(&reserved).len(), 2);
        let reasons = growth.reasons(&reserved);
        assert_eq!(reasons.ended, BTreeMap::from([(EpochEnd::Grown, 1), (EpochEnd::WorkerLost, 1)]));
        assert_eq!((reasons.since, reasons.suspects.len()), (Some(at(5)), 1));
    }

    #[test]
    fn an_epoch_that_was_not_reserved_leaves_no_reason() {
        let shuffle = ShuffleId { job: JobId(uuid::Uuid::nil()), exchange: StageId(0), run: 0 };
        let mut growth = Growth::new(&ShuffleTarget { shuffle, locations: vec![location(0, 0)] });
        let at = Timestamp::from_millis;
        let wanted = growth.ask(at(5), asker("e1", &[(0, EpochEnd::Full)]), &[]).expect("it waits");
        growth.not_extended(&wanted, "no worker has room");
        growth.ask(at(9), asker("e1", &[(0, EpochEnd::Grown)]), &[]).expect("it waits");
        let reserved = [location(0, 2)];
        growth.extended(&reserved);
        assert_eq!(growth.reasons(&reserved).since, Some(at(9)));
    }
}
