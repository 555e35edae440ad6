//! Everything that one life of a worker holds: jobs' shuffles and their locations.
//!
//! In: reservations, batches, commits, releases. Out: refusals, verdicts, locations to read. What was released is
//! remembered for a while, so that "expired", "unknown" and "empty" stay three answers (invariant 22).

mod pushed;
mod record;
mod released;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use penstock_protocol::{
    frame::{Entry, Push, PushVerdict, Refusal},
    ids::{Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, WorkerId},
    shuffle::{CommitVerdict, Winner},
    status::{ErrorCode, RpcError},
};

pub(super) use self::pushed::{Forwarded, Pushed};
use self::{record::Record, released::Released};
use super::{
    config::Durability,
    disks::Disks,
    guard::Guard,
    jobs::Jobs,
    link::Link,
    location::{Location, Taken},
    memory::{Budget, Charge},
    pace::Pace,
    recovery::Recovered,
    standing::Standing,
    tiers::Tiers,
    write_out::Named,
};
use crate::metrics;

pub(super) type LocationKey = (PartitionIndex, Epoch);

/// A record that is smaller than this part of the buffer that it came in is copied out of it: records may live for long, and
/// only their own bytes are counted.
const SHARE_OF_BUFFER_MIN: (usize, usize) = (7, 8);

#[derive(Debug)]
pub(super) struct Store {
    pub worker: WorkerId,
    pub incarnation: Incarnation,
    pub budget: Arc<Budget>,
    pub disks: Arc<Disks>,
    pub tiers: Tiers,
    pub durability: Durability,
    pub locations_max: usize,
    pub standing: Standing,
    pub pace: Pace,
    pub jobs_known: Jobs,
    /// Former lives of which something is served.
    former_lives: BTreeSet<Incarnation>,
    split_from_bytes: u64,
    pub guard: Guard,
    shuffles: RwLock<BTreeMap<ShuffleId, Arc<Shuffle>>>,
    released: Mutex<Released>,
}

#[derive(Debug)]
pub(super) struct Shuffle {
    pub id: ShuffleId,
    pub record: Record,
    locations: RwLock<BTreeMap<LocationKey, Arc<Location>>>,
    /// Set by the first commit and never changed (invariant 9).
    winners: Mutex<Option<Vec<Winner>>>,
}

impl Store {
    pub fn new(
        worker: WorkerId,
        incarnation: Incarnation,
        budget: Arc<Budget>,
        disks: Arc<Disks>,
        tiers: Tiers,
        durability: Durability,
        locations_max: usize,
    ) -> Self {
        let (former_lives, shuffles, released) = Default::default();
        Self {
            worker,
            incarnation,
            budget,
            disks,
            tiers,
            durability,
            locations_max,
            standing: Standing::default(),
            pace: Pace::default(),
            jobs_known: Jobs::default(),
            split_from_bytes: u64::MAX,
            former_lives,
            guard: Guard::default(),
            shuffles,
            released,
        }
    }

    /// Takes what former lives committed, to serve it as theirs.
    pub fn adopt(&mut self, recovered: Recovered) {
        for (id, recovered) in recovered {
            let shuffle = Shuffle::new(id);
            let mut locations = write(&shuffle.locations);
            for (entry, parts) in recovered {
                self.former_lives.insert(entry.life);
                let location = Location::recovered(&self.budget, entry.life, parts);
                locations.insert((entry.partition, entry.epoch), Arc::new(location));
            }
            drop(locations);
            write(&self.shuffles).insert(id, Arc::new(shuffle));
        }
    }

    /// Whether anything is served for that life: reads and releases, never pushes and commits (invariant 16).
    pub fn serves(&self, life: Incarnation) -> bool {
        life == self.incarnation || self.former_lives.contains(&life)
    }

    /// Asks everybody for tokens, if the guard does.
    pub fn guarded(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// Locations ask their clients for a new epoch from this size.
    pub fn splitting_from(self, split_from_bytes: u64) -> Self {
        Self { split_from_bytes, ..self }
    }

    /// Reserves all of `keys` or none, each with a second copy at `replica`. Reserving an open location again changes
    /// nothing.
    pub fn reserve(
        &self,
        id: ShuffleId,
        keys: &[LocationKey],
        replica: Option<&Arc<Link>>,
    ) -> Result<(), RpcError> {
        if self.standing.get().takes_nothing() {
            return Err(RpcError::new(ErrorCode::NoRoom, format!("worker {} takes nothing new", self.worker)));
        }
        if lock(&self.released).covers(id) {
            return Err(RpcError::new(ErrorCode::Conflict, format!("shuffle {id} was released")));
        }
        if let Some(states) = self.disks.all_unusable() {
            let reason = format!("worker {} has no disk that works: {states}", self.worker);
            return Err(RpcError::new(ErrorCode::NoRoom, reason));
        }
        if self.locations() + keys.len() > self.locations_max {
            let reason = format!("worker {} has its {} locations", self.worker, self.locations_max);
            return Err(RpcError::new(ErrorCode::NoRoom, reason));
        }
        let mut shuffles = write(&self.shuffles);
        let shuffle = shuffles.entry(id).or_insert_with(|| Arc::new(Shuffle::new(id)));
        let mut locations = write(&shuffle.locations);
        let closed = keys.iter().find(|key| locations.get(key).is_some_and(|location| !location.is_open()));
        if let Some((partition, epoch)) = closed {
            let reason = format!("partition {partition} epoch {epoch} of shuffle {id} is closed");
            return Err(RpcError::new(ErrorCode::Conflict, reason));
        }
        for key in keys {
            // One that nobody wrote to may be left from a reservation that failed elsewhere, with another second copy.
            let stays =
                locations.get(key).is_some_and(|known| !known.is_untouched() || known.forwards_to(replica));
            if !stays {
                let location = Location::new(&self.budget, self.incarnation)
                    .splitting_from(self.split_from_bytes)
                    .replicated_to(replica.cloned());
                locations.insert(*key, Arc::new(location));
            }
        }
        Ok(())
    }

    /// Takes the batches of one frame, each on its own; their bytes lie in a buffer of `buffer_bytes`.
    pub fn push(&self, push: Push, buffer_bytes: usize, mut charge: Charge) -> Pushed {
        if let Err(denied) = self.guard.check(push.head.shuffle.job, push.head.token) {
            return Pushed::refused(denied, &push);
        }
        if push.head.incarnation != self.incarnation {
            return Pushed::refused(Refusal::OtherIncarnation, &push);
        }
        let shuffle = match self.shuffle(push.head.shuffle) {
            Ok(shuffle) => shuffle,
            Err(refusal) => return Pushed::refused(refusal, &push),
        };
        let locations = read(&shuffle.locations);
        if let Some(refusal) = self.refuses(push.head.shuffle.job) {
            // For good, although this may pass: what follows these batches goes where they go.
            let touched = |entry: &Entry| locations.get(&(entry.partition, entry.epoch));
            push.entries.iter().filter_map(touched).for_each(|location| location.split(refusal));
            return Pushed::refused(refusal, &push);
        }
        let (mut accepted, mut accepted_bytes) = (0, 0);
        let mut pushed = Pushed::default();
        for (index, entry) in push.entries.iter().enumerate() {
            let bytes = entry.batch.record.len() as u64;
            let taken =
                locations.get(&(entry.partition, entry.epoch)).ok_or(Refusal::Unknown).and_then(|location| {
                    Ok((location, accept(location, entry, buffer_bytes, charge.split(bytes))?))
                });
            match taken {
                Ok((location, taken)) => {
                    (accepted, accepted_bytes) = (accepted + 1, accepted_bytes + bytes);
                    if taken == Taken::SplitSoon {
                        pushed.says(index, PushVerdict::SplitSoon, &push);
                    }
                    if location.replica().is_some() {
                        pushed.awaits(index, location);
                    }
                }
                Err(refusal) => {
                    metrics::refused_batches(refusal, 1);
                    pushed.says(index, PushVerdict::Refused(refusal), &push);
                }
            }
        }
        metrics::pushed(accepted, accepted_bytes);
        drop(charge);
        self.budget.check_pressure();
        pushed.complete(push);
        pushed
    }

    /// Why this worker takes nothing of a job at the moment.
    fn refuses(&self, job: JobId) -> Option<Refusal> {
        if self.standing.get().takes_nothing() {
            return Some(Refusal::Stopping);
        }
        self.jobs_known.is_over_quota(job).then_some(Refusal::OverQuota)
    }

    /// There was no room for a batch: what follows it is refused as well.
    pub fn refuse(&self, id: ShuffleId, key: LocationKey, refusal: Refusal) {
        if let Ok(location) = self.location(self.incarnation, id, key) {
            location.split(refusal);
        }
    }

    /// Closes the locations and answers for each one, in the order asked (invariant 4).
    pub async fn commit(
        self: &Arc<Self>,
        id: ShuffleId,
        keys: &[LocationKey],
        winners: Vec<Winner>,
        patience: Duration,
    ) -> Vec<(LocationKey, CommitVerdict)> {
        match self.shuffle(id) {
            Ok(shuffle) if shuffle.set_winners(winners) => self.close(&shuffle, keys, patience).await,
            Ok(_) => failed(keys, "it was committed with other winners"),
            Err(refusal) => failed(keys, &refusal.to_string()),
        }
    }

    /// Closes locations that a split has ended, before the winners are known. The later commit gives the same verdicts
    /// (invariant 17).
    pub async fn commit_early(
        self: &Arc<Self>,
        id: ShuffleId,
        keys: &[LocationKey],
        patience: Duration,
    ) -> Vec<(LocationKey, CommitVerdict)> {
        match self.shuffle(id) {
            Ok(shuffle) => self.close(&shuffle, keys, patience).await,
            Err(refusal) => failed(keys, &refusal.to_string()),
        }
    }

    async fn close(
        self: &Arc<Self>,
        shuffle: &Arc<Shuffle>,
        keys: &[LocationKey],
        patience: Duration,
    ) -> Vec<(LocationKey, CommitVerdict)> {
        self.prepare_commit(shuffle, keys, patience).await;
        shuffle.record.set_due();
        shuffle.close(keys, patience).await
    }

    /// The location to read, as one life of this worker took it. Not whether it may be read, which it says itself.
    pub fn location(
        &self,
        life: Incarnation,
        id: ShuffleId,
        key: LocationKey,
    ) -> Result<Arc<Location>, Refusal> {
        let unknown = if life == self.incarnation { Refusal::Unknown } else { Refusal::OtherIncarnation };
        let shuffle = self.shuffle(id).map_err(|refusal| match refusal {
            Refusal::Unknown => unknown,
            refusal => refusal,
        })?;
        let location = read(&shuffle.locations).get(&key).cloned();
        location.filter(|location| location.life == life).ok_or(unknown)
    }

    /// Deletes everything of a job and refuses whatever still comes for it.
    pub async fn release_job(&self, job: JobId) {
        let shuffles = {
            let mut shuffles = write(&self.shuffles);
            lock(&self.released).job(job);
            let of_job: Vec<_> = shuffles.keys().filter(|id| id.job == job).copied().collect();
            of_job.into_iter().filter_map(|id| shuffles.remove(&id)).collect()
        };
        self.delete(shuffles, PathBuf::from(job.to_string())).await;
    }

    /// Deletes what a former life committed of a shuffle. If this life has a part in it, that goes with the job.
    pub async fn release_former(&self, id: ShuffleId, life: Incarnation) {
        let of_that_life = self.shuffle(id).is_ok_and(|shuffle| {
            let locations = read(&shuffle.locations);
            locations.values().all(|location| location.life == life)
        });
        if of_that_life {
            self.release_shuffle(id).await;
        }
    }

    /// Deletes one shuffle. One that never took a batch is forgotten as if it had not been reserved, so that a failed
    /// reservation may be repeated.
    pub async fn release_shuffle(&self, id: ShuffleId) {
        let shuffle = {
            let mut shuffles = write(&self.shuffles);
            let Some(shuffle) = shuffles.remove(&id) else { return };
            if !shuffle.is_untouched() {
                lock(&self.released).shuffle(id);
            }
            shuffle
        };
        self.delete(vec![shuffle], shuffle_folder(id)).await;
    }

    /// Deletes locations as if they had not been reserved: their reservation failed on another copy (invariant 15). A file
    /// that one may have by now goes with its shuffle.
    pub async fn release_locations(&self, id: ShuffleId, keys: &[LocationKey]) {
        let Ok(shuffle) = self.shuffle(id) else { return };
        let locations: Vec<_> = {
            let mut locations = write(&shuffle.locations);
            keys.iter().filter_map(|key| locations.remove(key)).collect()
        };
        for location in locations {
            location.release().await;
        }
    }

    /// Not waited for on a disk that hangs; the deletion goes on.
    async fn delete(&self, shuffles: Vec<Arc<Shuffle>>, folder: PathBuf) {
        let (disks, objects) = (Arc::clone(&self.disks), self.tiers.objects.clone());
        let delete = async move {
            let mut keys = Vec::new();
            for shuffle in shuffles {
                shuffle.record.writing.lock().await.released = true;
                for named in shuffle.named() {
                    named.location.release().await;
                    keys.extend(named.location.object_keys());
                }
            }
            disks.remove_folders(folder).await;
            if let Some(objects) = objects.filter(|_| !keys.is_empty())
                && let Err(error) = objects.delete(keys).await
            {
                tracing::warn!(%error, "released objects were not deleted");
            }
        };
        if self.disks.carry("release", delete).await.is_err() {
            tracing::warn!("a release takes long: it goes on and is not waited for");
        }
    }

    /// Every job that anything is held of.
    pub fn jobs(&self) -> BTreeSet<JobId> {
        read(&self.shuffles).keys().map(|id| id.job).collect()
    }

    pub fn locations(&self) -> usize {
        read(&self.shuffles).values().map(|shuffle| read(&shuffle.locations).len()).sum()
    }

    /// Bytes on one of the disks.
    pub fn disk_bytes(&self, disk: usize) -> u64 {
        self.each_location().map(|named| named.location.disk_bytes(disk)).sum()
    }

    pub fn shuffles(&self) -> Vec<Arc<Shuffle>> {
        read(&self.shuffles).values().cloned().collect()
    }

    /// Has the manifest of a shuffle written again in a while.
    pub fn record_soon(&self, id: ShuffleId) {
        if let Ok(shuffle) = self.shuffle(id) {
            shuffle.record.set_due();
        }
    }

    pub fn each_location(&self) -> impl Iterator<Item = Named> {
        self.shuffles().into_iter().flat_map(|shuffle| shuffle.named())
    }

    pub fn shuffle(&self, id: ShuffleId) -> Result<Arc<Shuffle>, Refusal> {
        if let Some(shuffle) = read(&self.shuffles).get(&id) {
            return Ok(Arc::clone(shuffle));
        }
        Err(if lock(&self.released).covers(id) { Refusal::Expired } else { Refusal::Unknown })
    }
}

/// Below a worker's own folder. Numbers and a UUID only: nothing in it comes from a user.
pub(super) fn shuffle_folder(id: ShuffleId) -> PathBuf {
    PathBuf::from(id.job.to_string()).join(format!("{}-{}", id.exchange, id.run))
}

fn accept(location: &Location, entry: &Entry, buffer_bytes: usize, charge: Charge) -> Result<Taken, Refusal> {
    if entry.batch.verify().is_err() {
        // It is sent again to another epoch, and so must be what follows it.
        location.split(Refusal::Corrupt);
        return Err(Refusal::Corrupt);
    }
    let record = &entry.batch.record;
    let (part, whole) = SHARE_OF_BUFFER_MIN;
    let shared = record.len() * whole < buffer_bytes * part;
    let record = if shared { bytes::Bytes::copy_from_slice(record) } else { record.clone() };
    location.append(record, charge)
}

fn failed(keys: &[LocationKey], reason: &str) -> Vec<(LocationKey, CommitVerdict)> {
    let verdict = CommitVerdict::Failed { reason: reason.to_owned() };
    keys.iter().map(|key| (*key, verdict.clone())).collect()
}

impl Shuffle {
    fn new(id: ShuffleId) -> Self {
        Self { id, record: Record::default(), locations: RwLock::default(), winners: Mutex::default() }
    }

    /// Whether these are the winners, now or since an earlier commit.
    fn set_winners(&self, winners: Vec<Winner>) -> bool {
        let mut known = lock(&self.winners);
        match &*known {
            Some(known) => *known == winners,
            None => {
                *known = Some(winners);
                true
            }
        }
    }

    pub fn named(&self) -> Vec<Named> {
        let named = |(key, location): (&LocationKey, &Arc<Location>)| Named {
            shuffle: self.id,
            key: *key,
            location: Arc::clone(location),
        };
        read(&self.locations).iter().map(named).collect()
    }

    async fn close(&self, keys: &[LocationKey], patience: Duration) -> Vec<(LocationKey, CommitVerdict)> {
        let commits = keys.iter().map(|key| {
            let location = read(&self.locations).get(key).cloned();
            async move {
                let verdict = match location {
                    Some(location) => location.commit(patience).await,
                    None => CommitVerdict::Failed { reason: Refusal::Unknown.to_string() },
                };
                metrics::committed(&verdict);
                (*key, verdict)
            }
        });
        futures::future::join_all(commits).await
    }

    fn is_untouched(&self) -> bool {
        read(&self.locations).values().all(|location| location.is_untouched())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
