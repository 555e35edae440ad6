//! Reservation: placed by the master, taken on the workers, all or nothing.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use penstock_protocol::{
    ids::{Epoch, PartitionIndex, ShuffleId, WorkerId},
    pb,
    shuffle::{Location, ShuffleTarget, WorkerAddress},
    status::{ErrorCode, RpcError},
};
use tokio::time::Instant;

use super::{Owner, OwnerError, by_worker, calls};

/// Placements that are tried, each without the workers that refused before.
const PLACEMENTS: usize = 3;
/// How long a reservation waits for a first worker to appear, such as while a cluster starts.
const WORKERS_WAIT: Duration = Duration::from_secs(10);
const WORKERS_POLL: Duration = Duration::from_millis(100);

impl Owner {
    /// Reserves the first epoch of each partition. On an error nothing stays reserved (invariant 15): what a worker took is
    /// released again, and a release that does not arrive is made good by the expiry of the job.
    pub async fn reserve(&self, shuffle: ShuffleId, partitions: u32) -> Result<ShuffleTarget, OwnerError> {
        let wanted: Vec<_> = (0..partitions).map(|partition| (PartitionIndex(partition), Epoch(0))).collect();
        Ok(ShuffleTarget { shuffle, locations: self.reserve_epochs(shuffle, &wanted, &[]).await? })
    }

    /// Reserves further epochs of a shuffle, away from `suspects` if there are other workers; all or nothing as well. They
    /// are to be recorded before any writer sees them (invariant 13). While no worker takes new data, such as when all of
    /// them drain, it waits for one.
    pub async fn extend(
        &self,
        shuffle: ShuffleId,
        wanted: &[(PartitionIndex, Epoch)],
        suspects: &[WorkerId],
    ) -> Result<Vec<Location>, OwnerError> {
        let started = Instant::now();
        loop {
            match self.reserve_epochs(shuffle, wanted, suspects).await {
                Err(OwnerError::NoWorkers { .. }) if started.elapsed() < self.patience => {
                    tokio::time::sleep(WORKERS_POLL).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn reserve_epochs(
        &self,
        shuffle: ShuffleId,
        wanted: &[(PartitionIndex, Epoch)],
        suspects: &[WorkerId],
    ) -> Result<Vec<Location>, OwnerError> {
        let mut taken = Vec::new();
        let reserved = self.try_placements(shuffle, wanted, suspects, &mut taken).await;
        // Not between two placements: a release may come late, or once more, and would meet what was taken since.
        let kept = reserved.as_deref().unwrap_or_default();
        self.release_copies(shuffle, &for_nothing(taken, kept)).await;
        reserved
    }

    /// Adds to `taken` what workers were asked to take and may have taken for nothing.
    async fn try_placements(
        &self,
        shuffle: ShuffleId,
        wanted: &[(PartitionIndex, Epoch)],
        suspects: &[WorkerId],
        taken: &mut Vec<Location>,
    ) -> Result<Vec<Location>, OwnerError> {
        let mut refused: Vec<WorkerId> = Vec::new();
        let mut suspects = suspects.to_vec();
        loop {
            suspects.extend(self.suspects.names());
            let locations = self.place(shuffle, wanted, &suspects, &refused).await?;
            // Before the calls, because one that gets no answer may have taken effect.
            self.remember(shuffle.job, &locations);
            let failures = self.reserve_all(shuffle, &locations, &suspects).await;
            let Some((worker, error)) = failures.first() else { return Ok(locations) };
            taken.extend(locations.iter().flat_map(Location::copies));
            let (worker, code) = (worker.worker.clone(), error.code);
            let reason = error.message.clone();
            let failure = match code {
                ErrorCode::NoRoom => OwnerError::NoWorkers { reason },
                _ => OwnerError::Reserve { shuffle, worker: worker.clone(), reason },
            };
            // Only those that were asked with patience are out of the question now.
            let is_hasty = !suspects.contains(&worker) && self.suspects.names().contains(&worker);
            if !is_hasty {
                if refused.len() + 1 >= PLACEMENTS
                    || matches!(code, ErrorCode::Conflict | ErrorCode::InvalidMessage)
                {
                    return Err(failure);
                }
                refused.push(worker);
            }
            tracing::warn!(%shuffle, error = %failure, "placing again");
        }
    }

    async fn place(
        &self,
        shuffle: ShuffleId,
        wanted: &[(PartitionIndex, Epoch)],
        suspects: &[WorkerId],
        refused: &[WorkerId],
    ) -> Result<Vec<Location>, OwnerError> {
        let started = Instant::now();
        let profile = self.profile(shuffle.job);
        let names = |workers: &[WorkerId]| workers.iter().map(|worker| worker.as_str().to_owned()).collect();
        let mut request = pb::PlaceRequest {
            shuffle: Some(shuffle.into()),
            partitions: wanted.iter().map(|(partition, _)| partition.0).collect(),
            epoch: 0,
            excluded: names(&[suspects, refused].concat()),
            copies: self.copies,
            user: profile.user,
            tags: profile.tags,
            ..Default::default()
        };
        loop {
            let placed = self.ask_master(async |mut master| master.place(request.clone()).await).await;
            match placed {
                Ok(answer) => return placement(answer.into_inner(), shuffle, wanted),
                // A suspect is better than nobody.
                Err(OwnerError::NoWorkers { .. }) if request.excluded.len() > refused.len() => {
                    request.excluded = names(refused);
                }
                Err(OwnerError::NoWorkers { .. })
                    if refused.is_empty() && started.elapsed() < WORKERS_WAIT =>
                {
                    tokio::time::sleep(WORKERS_POLL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// On every copy; returns who did not. A primary is told where its second copies go. Workers that hang are left soon,
    /// but for those that were suspected before: there is nobody better.
    async fn reserve_all(
        &self,
        shuffle: ShuffleId,
        locations: &[Location],
        suspects: &[WorkerId],
    ) -> Vec<(Arc<WorkerAddress>, RpcError)> {
        let user = self.profile(shuffle.job).user;
        let placement = self.placements.fetch_add(1, Ordering::Relaxed);
        let reserve = by_role(locations).into_iter().map(|((worker, replica), locations)| {
            let request = pb::ReserveRequest {
                incarnation: worker.incarnation.0,
                shuffle: Some(shuffle.into()),
                locations,
                replica: replica.map(Into::into),
                user: user.clone(),
                placement,
            };
            let policy = match suspects.contains(&worker.worker) {
                true => calls::RESERVE,
                false => calls::RESERVE.within(self.silence),
            };
            async move {
                let reserved = self.ask_worker(worker, policy, async |mut client| {
                    client.reserve(request.clone()).await.map(drop)
                });
                reserved.await.map_err(|error| (Arc::new(worker.clone()), error))
            }
        });
        // All of them to their end, so that the release that may follow meets no reservation still on its way.
        futures::future::join_all(reserve).await.into_iter().filter_map(Result::err).collect()
    }

    /// Takes back what was reserved for nothing.
    async fn release_copies(&self, shuffle: ShuffleId, copies: &[Location]) {
        // What one that hangs may have taken goes with the job.
        let answering = by_worker(copies).into_iter().filter(|(worker, _)| !self.suspects.has(worker));
        let release = answering.map(|(worker, indices)| {
            let locations = indices.iter().map(|index| (&copies[*index]).into()).collect();
            let what = pb::ShuffleLocations { shuffle: Some(shuffle.into()), locations };
            let what = pb::release_request::What::Locations(what);
            self.release_quietly(worker, what)
        });
        futures::future::join_all(release).await;
    }
}

/// What was taken of copies that are not kept.
fn for_nothing(mut taken: Vec<Location>, kept: &[Location]) -> Vec<Location> {
    let kept: HashSet<_> = kept.iter().flat_map(Location::copies).collect();
    taken.retain(|copy| !kept.contains(copy));
    taken
}

/// The keys that each worker takes, by where their second copies go.
type Roles<'a> = BTreeMap<(&'a WorkerAddress, Option<&'a WorkerAddress>), Vec<pb::LocationKey>>;

fn by_role(locations: &[Location]) -> Roles<'_> {
    let mut roles = Roles::new();
    for location in locations {
        let replica = location.replica.as_deref();
        roles.entry((&location.worker, replica)).or_default().push(location.into());
        if let Some(replica) = replica {
            roles.entry((replica, None)).or_default().push(location.into());
        }
    }
    roles
}

/// The epochs are the owner's business: the master only chooses workers.
fn placement(
    answer: pb::PlaceAnswer,
    shuffle: ShuffleId,
    wanted: &[(PartitionIndex, Epoch)],
) -> Result<Vec<Location>, OwnerError> {
    let target = answer.target.map(ShuffleTarget::try_from);
    let usable = |target: &ShuffleTarget| {
        let partitions = target.locations.iter().map(|location| location.partition);
        target.shuffle == shuffle
            && partitions.eq(wanted.iter().map(|(partition, _)| *partition))
            && target.locations.iter().all(|location| location.replica.as_ref() != Some(&location.worker))
    };
    match target {
        Some(Ok(target)) if usable(&target) => {
            let epochs = wanted.iter().map(|(_, epoch)| *epoch);
            Ok(target.locations.into_iter().zip(epochs).map(|(at, epoch)| Location { epoch, ..at }).collect())
        }
        _ => Err(OwnerError::NoWorkers {
            reason: "the master's placement does not fit what was asked".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use penstock_protocol::ids::Incarnation;

    use super::*;

    fn worker(name: &str) -> Arc<WorkerAddress> {
        let (control, data) = (String::new(), String::new());
        Arc::new(WorkerAddress { worker: name.into(), incarnation: Incarnation(1), control, data })
    }

    fn on(partition: u32, name: &str) -> Location {
        Location::on(PartitionIndex(partition), Epoch(0), worker(name))
    }

    // Invariant 15, and 17: a release that comes late must not meet what is handed out.
    #[test]
    fn what_is_kept_of_a_failed_placement_is_not_released() {
        let taken = vec![on(0, "a"), on(0, "b"), on(1, "b"), on(1, "c")];
        let kept = [Location { replica: Some(worker("b")), ..on(0, "d") }, on(1, "c")];
        assert_eq!(for_nothing(taken.clone(), &kept), [on(0, "a"), on(1, "b")]);
        assert_eq!(for_nothing(taken.clone(), &[]), taken);
    }
}
