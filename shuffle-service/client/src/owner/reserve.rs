//! Reservation: placed by the master, taken on the workers, all or nothing.

use std::{sync::Arc, time::Duration};

use penstock_protocol::{
    ids::ShuffleId,
    pb,
    shuffle::{ShuffleTarget, WorkerAddress},
    status::{ErrorCode, RpcError},
};

use super::{Owner, OwnerError, by_worker, calls};

/// Placements that are tried, each without the workers that refused before.
const PLACEMENTS: usize = 3;
/// How long a reservation waits for a first worker to appear, such as while a cluster starts.
const WORKERS_WAIT: Duration = Duration::from_secs(10);
const WORKERS_POLL: Duration = Duration::from_millis(100);

impl Owner {
    /// Reserves one location per partition. On an error nothing stays reserved (invariant 15): what a worker took is
    /// released again, and a release that does not arrive is made good by the expiry of the job.
    pub async fn reserve(&self, shuffle: ShuffleId, partitions: u32) -> Result<ShuffleTarget, OwnerError> {
        let mut excluded = Vec::new();
        loop {
            let target = self.place(shuffle, partitions, &excluded).await?;
            // Before the calls, because one that gets no answer may have taken effect.
            self.remember(&target);
            let Err((worker, error)) = self.reserve_all(&target).await else { return Ok(target) };
            self.release_shuffle(shuffle).await;
            let refused =
                OwnerError::Reserve { shuffle, worker: worker.worker.clone(), reason: error.message };
            if excluded.len() + 1 >= PLACEMENTS
                || matches!(error.code, ErrorCode::Conflict | ErrorCode::InvalidMessage)
            {
                return Err(refused);
            }
            tracing::warn!(%shuffle, error = %refused, "placing again");
            excluded.push(worker.worker.as_str().to_owned());
        }
    }

    async fn place(
        &self,
        shuffle: ShuffleId,
        partitions: u32,
        excluded: &[String],
    ) -> Result<ShuffleTarget, OwnerError> {
        let started = tokio::time::Instant::now();
        let profile = self.profile(shuffle.job);
        let request = pb::PlaceRequest {
            shuffle: Some(shuffle.into()),
            partitions: (0..partitions).collect(),
            epoch: 0,
            excluded: excluded.to_vec(),
            user: profile.user,
            tags: profile.tags,
            ..Default::default()
        };
        loop {
            let placed = self.ask_master(async |mut master| master.place(request.clone()).await).await;
            match placed {
                Ok(answer) => return placement(answer.into_inner(), shuffle, partitions),
                Err(OwnerError::NoWorkers { .. })
                    if excluded.is_empty() && started.elapsed() < WORKERS_WAIT =>
                {
                    tokio::time::sleep(WORKERS_POLL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn reserve_all(&self, target: &ShuffleTarget) -> Result<(), (Arc<WorkerAddress>, RpcError)> {
        let groups = by_worker(&target.locations);
        let user = self.profile(target.shuffle.job).user;
        let reserve = groups.into_iter().map(|(worker, indices)| {
            let request = pb::ReserveRequest {
                incarnation: worker.incarnation.0,
                shuffle: Some(target.shuffle.into()),
                locations: indices.iter().map(|index| (&target.locations[*index]).into()).collect(),
                user: user.clone(),
            };
            async move {
                let reserved = self.ask_worker(&worker, calls::RESERVE, async |mut client| {
                    client.reserve(request.clone()).await.map(drop)
                });
                reserved.await.map_err(|error| (worker.clone(), error))
            }
        });
        // All of them to their end, so that the release that may follow meets no reservation still on its way.
        futures::future::join_all(reserve).await.into_iter().collect()
    }
}

fn placement(
    answer: pb::PlaceAnswer,
    shuffle: ShuffleId,
    partitions: u32,
) -> Result<ShuffleTarget, OwnerError> {
    let target = answer.target.map(ShuffleTarget::try_from);
    let usable = |target: &ShuffleTarget| {
        let mut expected = 0..partitions;
        target.shuffle == shuffle
            && target.locations.len() == partitions as usize
            && target.locations.iter().all(|location| Some(location.partition.0) == expected.next())
    };
    match target {
        Some(Ok(target)) if usable(&target) => Ok(target),
        _ => Err(OwnerError::NoWorkers {
            reason: "the master's placement does not fit what was asked".to_owned(),
        }),
    }
}
