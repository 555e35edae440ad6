//! The gRPC side of the master: decode, call, encode.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use penstock_common::clock::Clock;
use penstock_protocol::{
    build,
    decode::{DecodeError, job_id, required},
    ids::{Epoch, JobId, PartitionIndex, ShuffleId},
    pb::{self, shuffle_master_server::ShuffleMaster},
    shuffle::WorkerAddress,
    status::{ErrorCode, RpcError},
    wire::common::job_bytes,
};
use tonic::{Request, Response, Status};

use super::{
    leases::Leases,
    members::{Member, Members},
};
use crate::metrics;

pub(super) struct Service {
    clock: Arc<dyn Clock>,
    heartbeat_interval_ms: u64,
    state: Mutex<State>,
}

struct State {
    members: Members,
    leases: Leases,
}

impl Service {
    pub fn new(members: Members, leases: Leases, clock: Arc<dyn Clock>, heartbeat_interval_ms: u64) -> Self {
        Self { clock, heartbeat_interval_ms, state: Mutex::new(State { members, leases }) }
    }

    pub fn workers(&self) -> Vec<(Member, bool)> {
        self.state().members.list(self.clock.now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl ShuffleMaster for Service {
    async fn heartbeat(
        &self,
        request: Request<pb::WorkerHeartbeat>,
    ) -> Result<Response<pb::HeartbeatAnswer>, Status> {
        let report = request.into_inner();
        build::require_same("the shuffle worker", &report.build, "shuffle master")
            .map_err(|refusal| RpcError::new(ErrorCode::BuildMismatch, refusal.to_string()))?;
        let address: WorkerAddress = required(report.address, "address")?;
        let jobs = jobs(&report.jobs)?;
        let now = self.clock.now();
        let mut state = self.state();
        let member = Member {
            address: Arc::new(address),
            usage: report.usage.unwrap_or_default(),
            jobs: jobs.len(),
            reported_at: now,
            draining: report.draining,
        };
        state
            .members
            .report(now, member)
            .map_err(|error| RpcError::new(ErrorCode::Stale, error.to_string()))?;
        let (ended, expired) = state.leases.report(now, jobs);
        metrics::workers_alive(state.members.list(now).iter().filter(|(_, alive)| *alive).count());
        (0..expired).for_each(|_| metrics::expired_job());
        let expired_jobs = ended.into_iter().map(job_bytes).collect();
        Ok(Response::new(pb::HeartbeatAnswer { expired_jobs, interval_ms: self.heartbeat_interval_ms }))
    }

    async fn place(&self, request: Request<pb::PlaceRequest>) -> Result<Response<pb::PlaceAnswer>, Status> {
        let request = request.into_inner();
        let shuffle: ShuffleId = required(request.shuffle, "shuffle")?;
        let now = self.clock.now();
        let partitions = request.partitions.into_iter().map(PartitionIndex);
        let mut state = self.state();
        state.leases.keep_alive(now, [shuffle.job]);
        let placed = state.members.place(
            now,
            shuffle,
            partitions,
            Epoch(request.epoch),
            &request.excluded,
            request.copies,
        );
        let target = placed.map_err(|error| RpcError::new(ErrorCode::NoRoom, error.to_string()))?;
        metrics::placed(target.locations.len());
        Ok(Response::new(pb::PlaceAnswer { target: Some((&target).into()) }))
    }

    async fn keep_alive(
        &self,
        request: Request<pb::KeepAliveRequest>,
    ) -> Result<Response<pb::KeepAliveAnswer>, Status> {
        let jobs = jobs(&request.into_inner().jobs)?;
        self.state().leases.keep_alive(self.clock.now(), jobs);
        Ok(Response::new(pb::KeepAliveAnswer {}))
    }

    async fn release_job(
        &self,
        request: Request<pb::ReleaseJobRequest>,
    ) -> Result<Response<pb::ReleaseAnswer>, Status> {
        let job = job_id(&request.into_inner().job, "job")?;
        self.state().leases.release(self.clock.now(), job);
        Ok(Response::new(pb::ReleaseAnswer {}))
    }

    async fn list_workers(
        &self,
        _: Request<pb::ListWorkersRequest>,
    ) -> Result<Response<pb::ListWorkersAnswer>, Status> {
        let workers = self.workers().into_iter().map(|(member, alive)| pb::WorkerInfo {
            address: Some(member.address.as_ref().into()),
            usage: Some(member.usage),
            jobs: u32::try_from(member.jobs).unwrap_or(u32::MAX),
            last_heartbeat_ms: member.reported_at.as_millis(),
            alive,
            draining: member.draining,
        });
        Ok(Response::new(pb::ListWorkersAnswer { workers: workers.collect() }))
    }
}

fn jobs(jobs: &[bytes::Bytes]) -> Result<Vec<JobId>, DecodeError> {
    jobs.iter().map(|job| job_id(job, "jobs")).collect()
}
