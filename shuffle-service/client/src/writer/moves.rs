//! Which partitions have to go on in a new epoch, and which refusals end the attempt.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use penstock_protocol::{
    frame::Refusal,
    ids::{BatchId, Epoch, PartitionIndex, WorkerId},
    shuffle::{EndedEpoch, EpochEnd, Location, ShuffleTarget, WorkerAddress},
};

use crate::{
    error::PushError,
    push::{News, Returned, Why},
    revive::{ReviveRequest, Reviver},
};

/// A batch that needs more new epochs than this fails its attempt. Those that were full do not count: each has taken batches
/// of somebody, so that the batch's turn comes.
const REVIVES_MAX: u32 = 5;

/// What a writer remembers of the epochs that it left.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// How often each batch that ever came back has got a new epoch, but for full ones.
    revives: HashMap<BatchId, u32>,
    /// How often it left a worker because that was silent.
    pub silences: u32,
}

impl Moves {
    /// Asks for the next epochs that the news call for; gives the partitions' new locations.
    pub async fn decide(
        &mut self,
        reviver: Option<Arc<dyn Reviver>>,
        target: &ShuffleTarget,
        news: &News,
    ) -> Result<Vec<Location>, PushError> {
        let Some(reviver) = reviver else { return without_reviver(target, news) };
        self.silences += u32::from(news.returned.iter().any(|returned| returned.why.is_silence()));
        let shuffle = target.shuffle;
        let grown = |(partition, epoch): (&PartitionIndex, &Epoch)| (*partition, (*epoch, EpochEnd::Grown));
        let mut ended: BTreeMap<_, _> = news.ending.iter().map(grown).collect();
        ended.extend(left_behind(target, news));
        let mut suspects = BTreeSet::new();
        for returned in news.returned.iter().filter(|returned| returned.why != Why::HeldBack) {
            let location = &target.locations[returned.partition.0 as usize];
            if is_loss(&returned.why, location) {
                return Err(error(returned, location, target));
            }
            self.count(returned, location, target)?;
            suspects.extend(suspect(&returned.why, location));
            ended.insert(returned.partition, (returned.epoch, why_ended(&returned.why)));
        }
        // An answer may speak of an epoch that this writer has left already.
        ended.retain(|partition, (epoch, _)| target.locations[partition.0 as usize].epoch == *epoch);
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let ended: Vec<_> =
            ended.into_iter().map(|(partition, (epoch, why))| EndedEpoch { partition, epoch, why }).collect();
        let suspects: Vec<WorkerId> = suspects.into_iter().collect();
        let asked = ReviveRequest { shuffle, ended: ended.clone(), suspects };
        let unavailable = |reason: String| PushError::Unavailable { shuffle, reason };
        let moved = reviver.revive(asked).await.map_err(|error| unavailable(error.to_string()))?;
        match answers(&ended, &moved) {
            true => Ok(moved),
            false => Err(unavailable("the new epochs are not those that were asked for".to_owned())),
        }
    }

    fn count(
        &mut self,
        returned: &Returned,
        location: &Location,
        target: &ShuffleTarget,
    ) -> Result<(), PushError> {
        let revives = self.revives.entry(returned.batch.header.batch).or_default();
        *revives += u32::from(refusal(&returned.why) != Some(Refusal::Full));
        if *revives > REVIVES_MAX { Err(error(returned, location, target)) } else { Ok(()) }
    }
}

/// Whoever leaves a worker leaves it with all partitions that have another copy: each of them would cost one more silence, and
/// the next one lasts longer.
fn left_behind<'a>(
    target: &'a ShuffleTarget,
    news: &News,
) -> impl Iterator<Item = (PartitionIndex, (Epoch, EpochEnd))> + use<'a> {
    let gone = |returned: &Returned| gone(&returned.why, &target.locations[returned.partition.0 as usize]);
    let gone: BTreeSet<_> = news.returned.iter().filter_map(gone).collect();
    let some = if gone.is_empty() { &[] } else { &target.locations[..] };
    some.iter().filter_map(move |location| {
        let why = match location.replica.as_deref()? {
            _ if gone.contains(&*location.worker) => EpochEnd::WorkerLost,
            replica if gone.contains(replica) => EpochEnd::ReplicaLost,
            _ => return None,
        };
        Some((location.partition, (location.epoch, why)))
    })
}

/// The worker of which nothing more is to be expected, by what became of one batch.
fn gone<'a>(why: &Why, location: &'a Location) -> Option<&'a WorkerAddress> {
    match why {
        Why::Unreachable { .. } => Some(&location.worker),
        Why::Refused(Refusal::ReplicaLost) => location.replica.as_deref(),
        Why::Refused(_) | Why::HeldBack => None,
    }
}

/// Whoever writes without anybody to ask cannot go on; a wish for a split is not followed.
fn without_reviver(target: &ShuffleTarget, news: &News) -> Result<Vec<Location>, PushError> {
    let first = news.returned.iter().find(|returned| returned.why != Why::HeldBack);
    match first {
        Some(returned) => Err(error(returned, &target.locations[returned.partition.0 as usize], target)),
        None => Ok(Vec::new()),
    }
}

fn answers(ended: &[EndedEpoch], moved: &[Location]) -> bool {
    let newer = |(ended, location): (&EndedEpoch, &Location)| {
        location.partition == ended.partition && location.epoch > ended.epoch
    };
    ended.len() == moved.len() && ended.iter().zip(moved).all(newer)
}

/// Whether going on is no use: acknowledged batches are gone for good, or all workers would say the same.
fn is_loss(why: &Why, location: &Location) -> bool {
    match refusal(why) {
        Some(
            Refusal::Expired | Refusal::OtherBuild | Refusal::BadFrame | Refusal::Denied | Refusal::OverQuota,
        ) => true,
        // The other copy has them.
        Some(Refusal::Unknown | Refusal::OtherIncarnation | Refusal::Broken) => location.replica.is_none(),
        _ => false,
    }
}

/// The worker that should not get the next epoch.
fn suspect(why: &Why, location: &Location) -> Option<WorkerId> {
    match refusal(why) {
        Some(Refusal::Full | Refusal::Closed | Refusal::Corrupt) => None,
        Some(Refusal::ReplicaLost) => location.replica.as_ref().map(|replica| replica.worker.clone()),
        _ => Some(location.worker.worker.clone()),
    }
}

/// As the owner of the shuffle is told.
fn why_ended(why: &Why) -> EpochEnd {
    match refusal(why) {
        // Of the whole connection, where batches are not looked at yet.
        Some(Refusal::NoRoom) if matches!(why, Why::Unreachable { .. }) => EpochEnd::TurnedAway,
        Some(Refusal::Full | Refusal::NoRoom | Refusal::OverQuota) => EpochEnd::Full,
        Some(Refusal::Closed | Refusal::Stopping) => EpochEnd::Closing,
        Some(Refusal::ReplicaLost) => EpochEnd::ReplicaLost,
        Some(Refusal::Corrupt | Refusal::BadFrame) => EpochEnd::Damaged,
        Some(Refusal::Unknown | Refusal::OtherIncarnation | Refusal::Broken | Refusal::Unreadable) | None => {
            EpochEnd::WorkerLost
        }
        Some(
            Refusal::Expired | Refusal::Open | Refusal::OtherBuild | Refusal::StoreAway | Refusal::Denied,
        ) => EpochEnd::Other,
    }
}

fn refusal(why: &Why) -> Option<Refusal> {
    match why {
        Why::Refused(refusal) => Some(*refusal),
        Why::Unreachable { refusal, .. } => *refusal,
        Why::HeldBack => None,
    }
}

fn error(returned: &Returned, location: &Location, target: &ShuffleTarget) -> PushError {
    let (shuffle, worker) = (target.shuffle, location.worker.worker.as_str());
    match (&returned.why, refusal(&returned.why)) {
        (_, Some(refusal)) => PushError::refused(shuffle, refusal, worker),
        (Why::Unreachable { reason, .. }, None) => {
            PushError::Unavailable { shuffle, reason: format!("worker {worker}: {reason}") }
        }
        (Why::Refused(_) | Why::HeldBack, None) => {
            PushError::Unavailable { shuffle, reason: "a batch was held back".to_owned() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use futures::{FutureExt, future::BoxFuture};
    use penstock_protocol::{
        frame::{Batch, BatchHeader},
        ids::{AttemptNumber, Incarnation, JobId, ShuffleId, StageId, TaskIndex},
    };
    use uuid::Uuid;

    use super::*;
    use crate::revive::NotRevived;

    fn location(partition: u32, workers: &str) -> Location {
        let worker = |name: &str| {
            let (control, data) = (String::new(), String::new());
            Arc::new(WorkerAddress { worker: name.into(), incarnation: Incarnation(1), control, data })
        };
        let (first, second) = workers.split_once('+').unwrap_or((workers, ""));
        let replica = (!second.is_empty()).then(|| worker(second));
        Location { replica, ..Location::on(PartitionIndex(partition), Epoch(0), worker(first)) }
    }

    fn returned(partition: u32, why: Why) -> Returned {
        let header = BatchHeader::of(TaskIndex(0), AttemptNumber(0), BatchId(partition), 1, b"x");
        let mut record = Bytes::from([&header.encode()[..], b"x"].concat());
        let batch = Batch::split_from(&mut record).expect("a whole record");
        Returned { partition: PartitionIndex(partition), epoch: Epoch(0), batch, why }
    }

    fn silent() -> Why {
        Why::Unreachable { refusal: None, silent: true, reason: "no sign of life".to_owned() }
    }

    /// Gives everybody the next epoch, and keeps what was asked for.
    #[derive(Debug, Default)]
    struct Asked(Mutex<Vec<EndedEpoch>>);

    impl Reviver for Asked {
        fn revive(&self, request: ReviveRequest) -> BoxFuture<'_, Result<Vec<Location>, NotRevived>> {
            let next =
                |ended: &EndedEpoch| Location { epoch: Epoch(1), ..location(ended.partition.0, "n+m") };
            let moved = request.ended.iter().map(next).collect();
            *self.0.lock().expect("no test panics with it") = request.ended;
            async { Ok(moved) }.boxed()
        }
    }

    /// What a writer asks for whose partitions lie on these workers, after this news.
    fn asked(locations: &[&str], returned: Vec<Returned>) -> Vec<(u32, EpochEnd)> {
        let shuffle = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(0), run: 0 };
        let locations =
            (0..).zip(locations).map(|(partition, workers)| location(partition, workers)).collect();
        let (target, news) = (ShuffleTarget { shuffle, locations }, News { returned, ..News::default() });
        let reviver = Arc::new(Asked::default());
        let (mut moves, own) = (Moves::default(), Arc::clone(&reviver) as Arc<dyn Reviver>);
        let moved = moves.decide(Some(own), &target, &news);
        moved.now_or_never().expect("the answer is there").expect("there are new epochs");
        let asked = reviver.0.lock().expect("no test panics with it");
        asked.iter().map(|ended| (ended.partition.0, ended.why)).collect()
    }

    #[test]
    fn a_worker_is_left_with_all_that_has_another_copy() {
        use EpochEnd::{ReplicaLost, WorkerLost};
        let locations = ["a+b", "b+a", "b+c", "a+c", "a"];
        let all = [(0, WorkerLost), (1, ReplicaLost), (3, WorkerLost)];
        let held_back = || returned(3, Why::HeldBack);
        assert_eq!(asked(&locations, vec![returned(0, silent()), held_back()]), all);
        let replica_lost = || returned(1, Why::Refused(Refusal::ReplicaLost));
        assert_eq!(asked(&locations, vec![replica_lost(), held_back()]), all);
    }

    #[test]
    fn a_worker_that_refuses_a_batch_is_not_left_with_others() {
        let full = |partition| returned(partition, Why::Refused(Refusal::Full));
        assert_eq!(asked(&["a+b", "a+b"], vec![full(1)]), [(1, EpochEnd::Full)]);
    }

    #[test]
    fn every_refusal_has_a_reason_that_the_owner_is_told() {
        let reasons = [
            (Refusal::Full, EpochEnd::Full),
            (Refusal::NoRoom, EpochEnd::Full),
            (Refusal::Closed, EpochEnd::Closing),
            (Refusal::Stopping, EpochEnd::Closing),
            (Refusal::ReplicaLost, EpochEnd::ReplicaLost),
            (Refusal::Corrupt, EpochEnd::Damaged),
            (Refusal::OtherIncarnation, EpochEnd::WorkerLost),
            (Refusal::Broken, EpochEnd::WorkerLost),
        ];
        for (refusal, why) in reasons {
            assert_eq!(why_ended(&Why::Refused(refusal)), why, "{refusal:?}");
        }
        let unreachable = |refusal| {
            let reason = "no connection".to_owned();
            why_ended(&Why::Unreachable { refusal, silent: false, reason })
        };
        assert_eq!(unreachable(None), EpochEnd::WorkerLost);
        assert_eq!(unreachable(Some(Refusal::NoRoom)), EpochEnd::TurnedAway);
    }
}
