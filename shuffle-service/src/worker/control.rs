//! The gRPC side of a worker: decode, call the store, encode.

use std::{sync::Arc, time::Duration};

use penstock_common::clock::Clock;
use penstock_protocol::{
    decode::{DecodeError, each, job_id, optional, required},
    ids::{Epoch, Incarnation, PartitionIndex, ShuffleId},
    pb::{self, shuffle_worker_server::ShuffleWorker},
    shuffle::{Winner, WorkerAddress},
    status::{ErrorCode, RpcError},
};
use tonic::{Request, Response, Status};

use super::{
    link::Links,
    location::Placement,
    store::{LocationKey, Store},
    usage,
};

pub(super) struct Control {
    pub store: Arc<Store>,
    pub links: Links,
    pub clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl ShuffleWorker for Control {
    async fn reserve(
        &self,
        request: Request<pb::ReserveRequest>,
    ) -> Result<Response<pb::ReserveAnswer>, Status> {
        let request = request.into_inner();
        self.check(request.incarnation)?;
        let shuffle: ShuffleId = required(request.shuffle, "shuffle")?;
        let replica: Option<WorkerAddress> = optional(request.replica, "replica")?;
        let replica = replica.map(|replica| self.links.to(replica));
        let placement = Placement { number: request.placement, replica: replica.as_ref() };
        self.store.reserve(shuffle, &keys(request.locations), placement)?;
        self.store.jobs_known.set_user(shuffle.job, &request.user);
        Ok(Response::new(pb::ReserveAnswer {}))
    }

    async fn commit(
        &self,
        request: Request<pb::CommitRequest>,
    ) -> Result<Response<pb::CommitAnswer>, Status> {
        let request = request.into_inner();
        self.check(request.incarnation)?;
        let shuffle: ShuffleId = required(request.shuffle, "shuffle")?;
        let winners: Vec<Winner> = each(request.winners, "winners")?;
        let keys = keys(request.locations);
        let patience = Duration::from_millis(self.store.settings.get().commit_timeout_ms);
        let verdicts = match request.early {
            true => self.store.commit_early(shuffle, &keys, patience).await,
            false => self.store.commit(shuffle, &keys, winners, patience).await,
        };
        let verdicts = verdicts.into_iter().map(|(key, verdict)| pb::LocationVerdict {
            location: Some(key.into()),
            verdict: Some(verdict.into()),
        });
        Ok(Response::new(pb::CommitAnswer { verdicts: verdicts.collect() }))
    }

    async fn release(
        &self,
        request: Request<pb::ReleaseRequest>,
    ) -> Result<Response<pb::ReleaseAnswer>, Status> {
        use pb::release_request::What;
        let request = request.into_inner();
        let life = Incarnation(request.incarnation);
        if !self.store.serves(life) {
            self.check(request.incarnation)?;
        }
        match request.what {
            Some(What::Job(job)) => self.store.release_job(job_id(&job, "job")?).await,
            Some(What::Shuffle(shuffle)) => {
                let shuffle = required(Some(shuffle), "shuffle")?;
                if life == self.store.incarnation {
                    self.store.release_shuffle(shuffle).await;
                } else {
                    self.store.release_former(shuffle, life).await;
                }
            }
            Some(What::Locations(pb::ShuffleLocations { shuffle, locations })) => {
                let shuffle: ShuffleId = required(shuffle, "locations.shuffle")?;
                self.store.release_locations(shuffle, &keys(locations)).await;
            }
            None => return Err(DecodeError::missing("what").into()),
        }
        Ok(Response::new(pb::ReleaseAnswer {}))
    }

    async fn list_locations(
        &self,
        request: Request<pb::ListLocationsRequest>,
    ) -> Result<Response<pb::ListLocationsAnswer>, Status> {
        let request = request.into_inner();
        self.check(request.incarnation)?;
        let job = job_id(&request.job, "job")?;
        Ok(Response::new(usage::list(&self.store, job, request.locations_max as usize)))
    }

    async fn settings(
        &self,
        request: Request<pb::SettingsRequest>,
    ) -> Result<Response<pb::SettingsAnswer>, Status> {
        let request = request.into_inner();
        self.check(request.incarnation)?;
        let invalid = |reason: String| RpcError::new(ErrorCode::InvalidMessage, reason);
        let changed = match request.changes.as_str() {
            "" => Vec::new(),
            changes => {
                let changes = serde_json::from_str(changes).map_err(|error| invalid(error.to_string()))?;
                self.store.change_settings(&changes).map_err(|error| invalid(error.to_string()))?
            }
        };
        let settings = serde_json::to_string(&self.store.settings.get().shown())
            .map_err(|error| RpcError::new(ErrorCode::Internal, error.to_string()))?;
        Ok(Response::new(pb::SettingsAnswer { settings, changed }))
    }

    async fn interrupt(
        &self,
        request: Request<pb::InterruptRequest>,
    ) -> Result<Response<pb::InterruptAnswer>, Status> {
        let request = request.into_inner();
        self.check(request.incarnation)?;
        let leaves_at = self.store.standing.interrupt(self.clock.now(), request.seconds);
        let leaves_at_ms = leaves_at.map_or(0, |at| at.as_millis());
        Ok(Response::new(pb::InterruptAnswer { leaves_at_ms }))
    }
}

impl Control {
    /// No request is answered for another life (invariant 16).
    fn check(&self, incarnation: u64) -> Result<(), RpcError> {
        if Incarnation(incarnation) == self.store.incarnation {
            return Ok(());
        }
        let (worker, life) = (&self.store.worker, self.store.incarnation);
        let message =
            format!("worker {worker} lives as {life}, not as {incarnation}: what it held then is gone");
        Err(RpcError::new(ErrorCode::Stale, message))
    }
}

fn keys(keys: Vec<pb::LocationKey>) -> Vec<LocationKey> {
    keys.into_iter().map(<(PartitionIndex, Epoch)>::from).collect()
}
