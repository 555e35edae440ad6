//! The epochs of one stage's shuffle, and the executors that wait for new ones. Pure.
//!
//! An executor asks because an epoch takes nothing more. It is answered when the next one is reserved and journaled; all
//! who ask for the successor of one epoch get the same. Not here: reserving, journaling.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    ids::{Epoch, PartitionIndex, WorkerId},
    shuffle::{EndedEpoch, EpochEnd, Location, ShuffleTarget},
};
use penstock_shuffle_client::owner::Epochs;

use super::{
    Host,
    history::{Asked, Reasons},
};

/// After so long there may be another worker for what had nowhere else to go.
const ASK_AWAY_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Growth {
    epochs: Epochs,
    waiting: Vec<Asker>,
    asked: Asked,
    /// Former epochs that take nothing more, or that nobody needs: they may be closed.
    left: BTreeSet<(PartitionIndex, Epoch)>,
    /// Those of them that were handed out to be closed.
    closed: BTreeSet<(PartitionIndex, Epoch)>,
    /// When partitions were asked away from workers that leave. One that comes back has nowhere else to go for now.
    asked_away: BTreeMap<(PartitionIndex, WorkerId), Timestamp>,
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
        let (waiting, asked, left, closed, asked_away) = Default::default();
        Self { epochs: Epochs::new(target), waiting, asked, left, closed, asked_away }
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

    /// These workers leave: the next epochs of what is pushed there, before anybody asks. Partitions to which nobody pushes at
    /// the moment would keep them waiting until the end of the stage.
    pub fn leave(&mut self, now: Timestamp, workers: &BTreeSet<WorkerId>) -> Wanted {
        let newest = self.epochs.newest();
        self.asked_away.retain(|_, at| now - *at < ASK_AWAY_AGAIN);
        let asks = |location: &Location| {
            let leaving = location.workers().filter(|address| workers.contains(&address.worker));
            let pairs = leaving.map(|address| (location.partition, address.worker.clone()));
            pairs.filter(|pair| !self.asked_away.contains_key(pair)).collect::<Vec<_>>()
        };
        let pairs: Vec<_> = newest.locations.iter().flat_map(asks).collect();
        let partitions: BTreeSet<_> = pairs.iter().map(|(partition, _)| *partition).collect();
        let ended: Vec<_> = newest
            .locations
            .iter()
            .filter(|location| partitions.contains(&location.partition))
            .map(|location| EndedEpoch {
                partition: location.partition,
                epoch: location.epoch,
                why: EpochEnd::Closing,
            })
            .collect();
        let wanted = self.epochs.wanted(&ended).expect("they were handed out");
        wanted.iter().for_each(|(partition, _)| self.asked.wants(*partition, EpochEnd::Closing, now));
        // Not those whose next epoch is on its way: nobody knows yet where that will be.
        let is_asked = |partition| wanted.iter().any(|(wanted, _)| *wanted == partition);
        let asked = pairs.into_iter().filter(|(partition, _)| is_asked(*partition));
        self.asked_away.extend(asked.map(|pair| (pair, now)));
        let former = self.epochs.former().filter(|location| is_on(location, workers));
        self.left.extend(former.map(|location| (location.partition, location.epoch)));
        wanted
    }

    /// Former epochs to be closed before the others, each once. A writer that has not left one yet goes on in a newer one.
    pub fn take_left(&mut self) -> Vec<Location> {
        let is_left = |location: &&Location| {
            let key = (location.partition, location.epoch);
            self.left.contains(&key) && !self.closed.contains(&key)
        };
        let left: Vec<_> = self.epochs.former().filter(is_left).cloned().collect();
        self.closed.extend(left.iter().map(|location| (location.partition, location.epoch)));
        left
    }

    /// Takes reserved locations in and answers those who waited for them.
    pub fn extended(&mut self, locations: &[Location]) -> Vec<Answer> {
        self.epochs.reserved(locations);
        let followed: BTreeSet<_> = locations
            .iter()
            .map(|location| location.partition)
            .filter(|partition| self.asked.why(*partition).is_some_and(|why| why != EpochEnd::Grown))
            .collect();
        let former = self.epochs.former().filter(|location| followed.contains(&location.partition));
        self.left.extend(former.map(|location| (location.partition, location.epoch)));
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
        let partitions: BTreeSet<_> = wanted.iter().map(|(partition, _)| *partition).collect();
        self.asked.take(partitions.iter().copied());
        self.asked_away.retain(|(partition, _), _| !partitions.contains(partition));
        let concerned = |asker: &Asker| asker.ended.iter().any(|ended| partitions.contains(&ended.partition));
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

fn is_on(location: &Location, workers: &BTreeSet<WorkerId>) -> bool {
    location.workers().any(|worker| workers.contains(&worker.worker))
}

impl Asker {
    pub fn hears(self, outcome: Result<Vec<Location>, String>) -> Answer {
        Answer { host: self.host, request: self.request, outcome }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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

    fn left(growth: &mut Growth) -> Vec<(u32, u32)> {
        growth.take_left().iter().map(|location| (location.partition.0, location.epoch.0)).collect()
    }

    // Invariant 17: each former epoch is closed once before the end, and all are named again there.
    #[test]
    fn an_epoch_that_takes_nothing_more_is_closed_and_one_that_has_only_grown_is_not() {
        let shuffle = ShuffleId { job: JobId(uuid::Uuid::nil()), exchange: StageId(0), run: 0 };
        let locations = vec![location(0, 0), location(1, 0)];
        let mut growth = Growth::new(&ShuffleTarget { shuffle, locations });
        let asker = asker("e1", &[(0, EpochEnd::Grown), (1, EpochEnd::ReplicaLost)]);
        growth.ask(Timestamp::from_millis(5), asker, &[]).expect("it waits");
        assert_eq!(left(&mut growth), [], "nothing follows them yet");
        let reserved = [location(0, 1), location(1, 1)];
        growth.extended(&reserved);
        growth.reasons(&reserved);
        assert_eq!(left(&mut growth), [(1, 0)]);
        assert_eq!(left(&mut growth), []);
        assert_eq!(growth.all().locations.len(), 4);
    }

    #[test]
    fn everything_on_a_worker_that_leaves_is_followed_and_closed_without_a_question() {
        let shuffle = ShuffleId { job: JobId(uuid::Uuid::nil()), exchange: StageId(0), run: 0 };
        let mut growth = Growth::new(&ShuffleTarget { shuffle, locations: vec![location(0, 0)] });
        let at = Timestamp::from_millis;
        growth.ask(at(1), asker("e1", &[(0, EpochEnd::Grown)]), &[]).expect("it waits");
        growth.extended(&[location(0, 1)]);
        growth.reasons(&[location(0, 1)]);
        assert_eq!(growth.leave(at(2), &BTreeSet::from(["other".into()])), []);
        let leaving = BTreeSet::from(["w".into()]);
        assert_eq!(growth.leave(at(2), &leaving), [(PartitionIndex(0), Epoch(2))]);
        assert_eq!(growth.leave(at(3), &leaving), [], "it is being reserved");
        assert_eq!(left(&mut growth), [(0, 0)]);
        growth.extended(&[location(0, 2)]);
        assert_eq!(left(&mut growth), [(0, 1)]);
    }

    // The only worker that may have it, say for its tags.
    #[test]
    fn what_comes_back_to_a_worker_that_leaves_stays_there_for_a_while() {
        let shuffle = ShuffleId { job: JobId(uuid::Uuid::nil()), exchange: StageId(0), run: 0 };
        let mut growth = Growth::new(&ShuffleTarget { shuffle, locations: vec![location(0, 0)] });
        let leaving = BTreeSet::from(["w".into()]);
        let leave = |growth: &mut Growth| growth.leave(Timestamp::from_millis(1), &leaving);
        assert_eq!(leave(&mut growth), [(PartitionIndex(0), Epoch(1))]);
        growth.not_extended(&[(PartitionIndex(0), Epoch(1))], "no worker has room");
        assert_eq!(leave(&mut growth), [(PartitionIndex(0), Epoch(2))]);
        growth.extended(&[location(0, 2)]);
        assert_eq!(leave(&mut growth), []);
        assert_eq!(growth.leave(Timestamp::from_millis(60_000), &leaving), []);
        assert_eq!(growth.leave(Timestamp::from_millis(60_001), &leaving), [(PartitionIndex(0), Epoch(3))]);
        assert_eq!(growth.leave(Timestamp::from_millis(120_001), &leaving), [], "it is being reserved");
        growth.extended(&[location(0, 3)]);
        assert_eq!(growth.leave(Timestamp::from_millis(120_002), &leaving), [(PartitionIndex(0), Epoch(4))]);
    }
}
