//! The locations of one shuffle over all epochs. Pure; the caller reserves, and records before it tells.
//!
//! Each (partition, epoch) is handed out at most once, epochs grow, and every one is kept until the shuffle is committed
//! or lost, also those whose workers died (invariant 13).

use std::collections::BTreeMap;

use penstock_protocol::{
    ids::{Epoch, PartitionIndex, ShuffleId},
    shuffle::{EndedEpoch, Location, ShuffleTarget},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    shuffle: ShuffleId,
    partitions: Vec<Partition>,
    /// Successors that are being reserved.
    asked: BTreeMap<PartitionIndex, Epoch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Partition {
    /// Never empty, ascending.
    locations: Vec<Location>,
    /// A number whose reservation failed is not used again.
    next: Epoch,
}

/// Somebody speaks of an epoch that was never handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("partition {} never had an epoch {}", .0.partition, .0.epoch)]
pub struct UnknownEpoch(pub EndedEpoch);

impl Epochs {
    /// Begins with what was reserved first: one location for each partition, in order.
    pub fn new(target: &ShuffleTarget) -> Self {
        let partition = |location: &Location| Partition {
            next: Epoch(location.epoch.0 + 1),
            locations: vec![location.clone()],
        };
        let partitions = target.locations.iter().map(partition).collect();
        Self { shuffle: target.shuffle, partitions, asked: BTreeMap::new() }
    }

    /// The newest locations if all are newer than those that ended; none if some have to be reserved first.
    pub fn newer(&self, ended: &[EndedEpoch]) -> Result<Option<Vec<Location>>, UnknownEpoch> {
        let newest = ended.iter().map(|ended| self.newest_of(*ended)).collect::<Result<Vec<_>, _>>()?;
        let all_newer = newest.iter().zip(ended).all(|(location, ended)| location.epoch > ended.epoch);
        Ok(all_newer.then(|| newest.into_iter().cloned().collect()))
    }

    /// The epochs that have to be reserved now so that nobody waits for them: each is named once, until its reservation
    /// has ended.
    pub fn wanted(&mut self, ended: &[EndedEpoch]) -> Result<Vec<(PartitionIndex, Epoch)>, UnknownEpoch> {
        let mut wanted = Vec::new();
        for ended in ended {
            let is_newest = self.newest_of(*ended)?.epoch == ended.epoch;
            if is_newest && !self.asked.contains_key(&ended.partition) {
                let partition = &mut self.partitions[ended.partition.0 as usize];
                let epoch = partition.next;
                partition.next = Epoch(epoch.0 + 1);
                self.asked.insert(ended.partition, epoch);
                wanted.push((ended.partition, epoch));
            }
        }
        Ok(wanted)
    }

    /// Takes reserved locations in. What nobody asked for is ignored.
    pub fn reserved(&mut self, locations: &[Location]) {
        for location in locations {
            if self.asked.get(&location.partition) == Some(&location.epoch) {
                self.asked.remove(&location.partition);
                let known = &mut self.partitions[location.partition.0 as usize].locations;
                assert!(known.last().is_some_and(|newest| newest.epoch < location.epoch), "epochs grow");
                known.push(location.clone());
            }
        }
    }

    /// These were not reserved; they may be wanted again, under other numbers.
    pub fn not_reserved(&mut self, wanted: &[(PartitionIndex, Epoch)]) {
        for (partition, epoch) in wanted {
            if self.asked.get(partition) == Some(epoch) {
                self.asked.remove(partition);
            }
        }
    }

    /// Where writers that begin now push to.
    pub fn newest(&self) -> ShuffleTarget {
        let newest = |partition: &Partition| partition.locations.last().expect("never empty").clone();
        ShuffleTarget { shuffle: self.shuffle, locations: self.partitions.iter().map(newest).collect() }
    }

    /// Everything that was ever handed out: what has to be committed.
    pub fn all(&self) -> ShuffleTarget {
        let locations = self.partitions.iter().flat_map(|partition| &partition.locations).cloned().collect();
        ShuffleTarget { shuffle: self.shuffle, locations }
    }

    /// What was handed out before the newest location of each partition.
    pub fn former(&self) -> impl Iterator<Item = &Location> {
        let former = |partition: &Partition| partition.locations.len() - 1;
        self.partitions.iter().flat_map(move |partition| &partition.locations[..former(partition)])
    }

    /// How many were handed out beyond the first of each partition.
    pub fn added(&self) -> u32 {
        let added = |partition: &Partition| partition.locations.len() - 1;
        u32::try_from(self.partitions.iter().map(added).sum::<usize>()).unwrap_or(u32::MAX)
    }

    fn newest_of(&self, ended: EndedEpoch) -> Result<&Location, UnknownEpoch> {
        let partition = self.partitions.get(ended.partition.0 as usize).ok_or(UnknownEpoch(ended))?;
        let newest = partition.locations.last().expect("never empty");
        if ended.epoch > newest.epoch { Err(UnknownEpoch(ended)) } else { Ok(newest) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use penstock_protocol::{
        ids::{Incarnation, JobId, StageId},
        shuffle::{EpochEnd, WorkerAddress},
    };
    use uuid::Uuid;

    use super::*;

    fn location(partition: u32, epoch: u32) -> Location {
        let worker = WorkerAddress {
            worker: "w".into(),
            incarnation: Incarnation(1),
            control: "c:1".into(),
            data: "d:1".into(),
        };
        Location::on(PartitionIndex(partition), Epoch(epoch), Arc::new(worker))
    }

    fn epochs() -> Epochs {
        let shuffle = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(0), run: 0 };
        Epochs::new(&ShuffleTarget { shuffle, locations: vec![location(0, 0), location(1, 0)] })
    }

    fn ended(partition: u32, epoch: u32) -> EndedEpoch {
        EndedEpoch { partition: PartitionIndex(partition), epoch: Epoch(epoch), why: EpochEnd::Full }
    }

    // Invariant 13: however many ask for a successor, there is one.
    #[test]
    fn all_who_ask_for_a_successor_get_the_same() {
        let mut epochs = epochs();
        let wanted = epochs.wanted(&[ended(0, 0), ended(1, 0)]).expect("known");
        assert_eq!(wanted, [(PartitionIndex(0), Epoch(1)), (PartitionIndex(1), Epoch(1))]);
        assert_eq!(epochs.wanted(&[ended(1, 0)]).expect("known"), []);
        assert_eq!(epochs.newer(&[ended(0, 0)]), Ok(None));
        epochs.reserved(&[location(0, 1), location(1, 1)]);
        assert_eq!(epochs.newer(&[ended(0, 0)]), Ok(Some(vec![location(0, 1)])));
        assert_eq!(epochs.wanted(&[ended(0, 0)]).expect("known"), []);
        epochs.reserved(&[location(0, 1)]);
        assert_eq!(epochs.all().locations, [location(0, 0), location(0, 1), location(1, 0), location(1, 1)]);
        assert_eq!(epochs.newest().locations, [location(0, 1), location(1, 1)]);
        assert_eq!(epochs.former().collect::<Vec<_>>(), [&location(0, 0), &location(1, 0)]);
    }

    // Invariant 13: handed out at most once, even if what came of the first try is not known.
    #[test]
    fn a_number_whose_reservation_failed_is_not_used_again() {
        let mut epochs = epochs();
        let first = epochs.wanted(&[ended(0, 0)]).expect("known");
        epochs.not_reserved(&first);
        assert_eq!(epochs.wanted(&[ended(0, 0)]).expect("known"), [(PartitionIndex(0), Epoch(2))]);
        // The answer to the first try comes after all.
        epochs.reserved(&[location(0, 1)]);
        assert_eq!(epochs.newest().locations[0], location(0, 0));
    }

    #[test]
    fn an_epoch_that_never_was_has_no_successor() {
        assert_eq!(epochs().wanted(&[ended(0, 1)]), Err(UnknownEpoch(ended(0, 1))));
        assert_eq!(epochs().newer(&[ended(2, 0)]), Err(UnknownEpoch(ended(2, 0))));
    }
}
