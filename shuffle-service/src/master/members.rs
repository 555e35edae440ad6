//! Who is there, and who gets the next partition. Pure: the caller brings the time.

use std::{collections::BTreeMap, time::Duration};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    ids::{Epoch, PartitionIndex, ShuffleId, WorkerId},
    pb,
    shuffle::{Location, ShuffleTarget, WorkerAddress},
};

#[derive(Debug)]
pub(super) struct Members {
    timeout: Duration,
    workers: BTreeMap<WorkerId, Member>,
    /// Where the next small shuffle starts, so that not all of them meet on the first worker.
    turn: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub address: std::sync::Arc<WorkerAddress>,
    pub usage: pb::WorkerUsage,
    pub jobs: usize,
    pub reported_at: Timestamp,
    pub draining: bool,
}

/// Why nothing can be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{known} known, {alive} of them alive, {excluded} of these just refused")]
pub(super) struct NoWorkers {
    known: usize,
    alive: usize,
    excluded: usize,
}

/// A report from a life before the one that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("worker {worker} has been started again since")]
pub(super) struct FormerLife {
    worker: WorkerId,
}

impl Members {
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, workers: BTreeMap::new(), turn: 0 }
    }

    /// Takes a report. A later incarnation replaces an earlier one, never the other way round while the later one lives.
    pub fn report(&mut self, now: Timestamp, member: Member) -> Result<(), FormerLife> {
        let worker = member.address.worker.clone();
        if let Some(known) = self.workers.get(&worker)
            && known.address.incarnation > member.address.incarnation
            && self.is_alive(now, known)
        {
            return Err(FormerLife { worker });
        }
        self.workers.insert(worker, member);
        // Long gone ones are kept for a while for the admin view, not for ever.
        let forget_after = self.timeout * 100;
        self.workers.retain(|_, member| now - member.reported_at < forget_after);
        Ok(())
    }

    /// A worker for each partition, or two: those that live and stay, in turn. The second copies of one worker's partitions
    /// lie together on the next one, so that what is merged for one is merged for the other. With one worker there is one
    /// copy.
    pub fn place(
        &mut self,
        now: Timestamp,
        shuffle: ShuffleId,
        partitions: impl IntoIterator<Item = PartitionIndex>,
        epoch: Epoch,
        excluded: &[String],
        copies: u32,
    ) -> Result<ShuffleTarget, NoWorkers> {
        let alive: Vec<_> =
            self.workers.values().filter(|member| self.is_alive(now, member) && !member.draining).collect();
        let usable: Vec<_> = alive
            .iter()
            .filter(|member| !excluded.iter().any(|name| name == member.address.worker.as_str()))
            .collect();
        if usable.is_empty() {
            return Err(NoWorkers { known: self.workers.len(), alive: alive.len(), excluded: alive.len() });
        }
        let mut turn = self.turn;
        let locations = partitions.into_iter().map(|partition| {
            let worker = |at: usize| std::sync::Arc::clone(&usable[at % usable.len()].address);
            let at = turn;
            turn = turn.wrapping_add(1);
            let replica = (copies > 1 && usable.len() > 1).then(|| worker(at.wrapping_add(1)));
            Location { partition, epoch, worker: worker(at), replica }
        });
        let locations = locations.collect();
        self.turn = turn;
        Ok(ShuffleTarget { shuffle, locations })
    }

    pub fn list(&self, now: Timestamp) -> Vec<(Member, bool)> {
        self.workers.values().map(|member| (member.clone(), self.is_alive(now, member))).collect()
    }

    fn is_alive(&self, now: Timestamp, member: &Member) -> bool {
        now - member.reported_at <= self.timeout
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use penstock_protocol::ids::{Incarnation, JobId, StageId};
    use uuid::Uuid;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn member(worker: &str, incarnation: u64, reported_at: Timestamp) -> Member {
        let address = WorkerAddress {
            worker: worker.into(),
            incarnation: Incarnation(incarnation),
            control: "c:1".into(),
            data: "d:1".into(),
        };
        Member { address: address.into(), usage: Default::default(), jobs: 0, reported_at, draining: false }
    }

    fn members(workers: &[&str]) -> Members {
        let mut members = Members::new(TIMEOUT);
        for worker in workers {
            members.report(at(0), member(worker, 1, at(0))).unwrap();
        }
        members
    }

    fn place(
        members: &mut Members,
        now: Timestamp,
        partitions: u32,
        excluded: &[&str],
    ) -> Result<String, NoWorkers> {
        let shuffle = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(0), run: 0 };
        let excluded: Vec<_> = excluded.iter().map(|name| (*name).to_owned()).collect();
        let target =
            members.place(now, shuffle, (0..partitions).map(PartitionIndex), Epoch(0), &excluded, 1)?;
        Ok(target
            .locations
            .iter()
            .map(|location| location.worker.worker.as_str())
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn partitions_are_spread_evenly_and_the_next_shuffle_goes_on_where_the_last_one_ended() {
        let mut members = members(&["a", "b", "c"]);
        assert_eq!(place(&mut members, at(1), 4, &[]).unwrap(), "a b c a");
        assert_eq!(place(&mut members, at(1), 2, &[]).unwrap(), "b c");
    }

    #[test]
    fn nothing_is_placed_on_workers_that_are_silent_leave_or_just_refused() {
        let mut members = members(&["a", "b", "c", "d"]);
        for worker in ["b", "c", "d"] {
            let draining = worker == "c";
            members.report(at(6), Member { draining, ..member(worker, 1, at(6)) }).unwrap();
        }
        assert_eq!(place(&mut members, at(7), 2, &["d"]).unwrap(), "b b");
        assert!(place(&mut members, at(7), 2, &["b", "d"]).is_err());
        assert!(place(&mut members, at(60), 2, &[]).is_err());
    }

    #[test]
    fn a_second_copy_lies_on_another_worker_if_there_is_one() {
        let shuffle = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(0), run: 0 };
        let placed = |workers: &[&str], copies| {
            let place =
                members(workers).place(at(1), shuffle, (0..3).map(PartitionIndex), Epoch(0), &[], copies);
            let names = |location: &Location| {
                location.workers().map(|worker| worker.worker.to_string()).collect::<Vec<_>>().join("+")
            };
            place.unwrap().locations.iter().map(names).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(placed(&["a", "b", "c"], 2), "a+b b+c c+a");
        assert_eq!(placed(&["a", "b"], 2), "a+b b+a a+b");
        assert_eq!(placed(&["a"], 2), "a a a");
        assert_eq!(placed(&["a", "b"], 0), "a b a");
    }

    // Invariant 16: a life that is over does not come back.
    #[test]
    fn a_former_life_does_not_replace_the_present_one() {
        let mut members = members(&["a"]);
        members.report(at(1), member("a", 2, at(1))).unwrap();
        assert!(members.report(at(2), member("a", 1, at(2))).is_err());
        assert_eq!(members.list(at(2))[0].0.address.incarnation, Incarnation(2));
    }
}
