//! Everything that one life of a worker holds: jobs' shuffles and their locations.
//!
//! In: reservations, batches, commits, releases. Out: refusals, verdicts, locations to read. What was released is
//! remembered for a while, so that "expired", "unknown" and "empty" stay three answers (invariant 22).

mod commit;
mod kept;
mod push;
mod pushed;
mod record;
mod release;
mod released;
mod shuffle;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use penstock_protocol::{
    frame::Refusal,
    ids::{Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, WorkerId},
    status::{ErrorCode, RpcError},
};

#[cfg(test)]
pub(super) use self::push::accept;
use self::{kept::Kept, released::Released};
pub(super) use self::{
    pushed::{Forwarded, Pushed},
    shuffle::Shuffle,
};
use super::{
    complaints::Complaints,
    config::Durability,
    congestion::Congestion,
    disks::Disks,
    guard::Guard,
    jobs::Jobs,
    location::{Location, Placement},
    manifest::{self, LocationEntry},
    memory::Budget,
    objects::Objects,
    pace::Pace,
    recovery::Recovery,
    settings::Settings,
    standing::Standing,
    write_out::Named,
};

pub(super) type LocationKey = (PartitionIndex, Epoch);

#[derive(Debug)]
pub(super) struct Store {
    pub worker: WorkerId,
    pub incarnation: Incarnation,
    pub budget: Arc<Budget>,
    pub disks: Arc<Disks>,
    /// The tier below the disks, if there is one.
    pub objects: Option<Objects>,
    pub settings: Settings,
    pub standing: Standing,
    pub pace: Pace,
    pub jobs_known: Jobs,
    congestion: Congestion,
    /// What its manifests are called.
    pub manifest_name: String,
    /// Former lives of which something is served.
    former_lives: BTreeSet<Incarnation>,
    pub guard: Guard,
    pub complaints: Complaints,
    shuffles: RwLock<BTreeMap<ShuffleId, Arc<Shuffle>>>,
    released: Mutex<Released>,
    kept: Mutex<Kept>,
}

impl Store {
    pub fn new(
        worker: WorkerId,
        incarnation: Incarnation,
        budget: Arc<Budget>,
        disks: Arc<Disks>,
        objects: Option<Objects>,
        settings: Settings,
    ) -> Self {
        let (former_lives, shuffles, released, kept) = Default::default();
        Self {
            worker,
            incarnation,
            budget,
            disks,
            objects,
            settings,
            standing: Standing::default(),
            pace: Pace::default(),
            jobs_known: Jobs::default(),
            congestion: Congestion::new(),
            manifest_name: manifest::file_name(incarnation, true),
            former_lives,
            guard: Guard::default(),
            complaints: Complaints::default(),
            shuffles,
            released,
            kept,
        }
    }

    /// Takes what former lives committed, to serve it as theirs, and keeps what else they left.
    pub fn adopt(&mut self, recovery: Recovery) {
        self.manifest_name = manifest::file_name(self.incarnation, recovery.is_all_seen);
        for job in recovery.jobs_left {
            self.keep(job, []);
        }
        for (id, entries) in &recovery.absent {
            self.keep(id.job, entries.iter().flat_map(LocationEntry::objects).cloned());
        }
        for (id, recovered) in recovery.locations {
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

    /// What is done for the next life of this worker, as of now.
    pub fn durability(&self) -> Durability {
        self.settings.get().durability()
    }

    /// Reserves all of `keys` or none, each with a second copy at `replica`. Reserving an open location again changes
    /// nothing.
    pub fn reserve(
        &self,
        id: ShuffleId,
        keys: &[LocationKey],
        placement: Placement<'_>,
    ) -> Result<(), RpcError> {
        if self.standing.get().takes_nothing() {
            return Err(RpcError::new(
                ErrorCode::NoRoom,
                format!("worker {} takes nothing new", self.worker),
            ));
        }
        if lock(&self.released).covers(id) {
            return Err(RpcError::new(ErrorCode::Conflict, format!("shuffle {id} was released")));
        }
        if let Some(states) = self.disks.all_unusable() {
            let reason = format!("worker {} has no disk that works: {states}", self.worker);
            return Err(RpcError::new(ErrorCode::NoRoom, reason));
        }
        let settings = self.settings.get();
        if self.locations() + keys.len() > settings.locations_max {
            let reason = format!("worker {} has its {} locations", self.worker, settings.locations_max);
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
            // One that nobody wrote to may be left from a placement that failed elsewhere, with another second copy. And
            // a reservation of that one may come late, when writers know of the one that did not fail.
            let stays =
                locations.get(key).is_some_and(|known| !known.is_untouched() || known.is_of(placement));
            if !stays {
                let location = Location::new(&self.budget, self.incarnation)
                    .splitting_from(settings.split_from_bytes.as_u64())
                    .placed_by(placement);
                locations.insert(*key, Arc::new(location));
            }
        }
        Ok(())
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

    /// Has what a former life left of a job, and these objects, deleted when the job ends, without serving it.
    pub fn keep(&self, job: JobId, objects: impl IntoIterator<Item = String>) {
        lock(&self.kept).add(job, objects);
    }

    /// Every job that anything is held of.
    pub fn jobs(&self) -> BTreeSet<JobId> {
        let mut jobs: BTreeSet<_> = read(&self.shuffles).keys().map(|id| id.job).collect();
        jobs.extend(lock(&self.kept).jobs());
        jobs
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
