//! The gRPC side of the master: decode, call, encode.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use penstock_common::{
    clock::{Clock, Timestamp},
    config::{self, Reloaded},
    telemetry,
};
use penstock_protocol::{
    build,
    decode::{DecodeError, job_id, required},
    ids::{Epoch, JobId, PartitionIndex},
    pb::{self, shuffle_master_server::ShuffleMaster},
    shuffle::WorkerAddress,
    status::{ErrorCode, RpcError},
    wire::common::job_bytes,
};
use tonic::{Request, Response, Status};

use super::{
    admin::views::state as state_of,
    config::{Config, InvalidConfig},
    members::Report,
    placement::Site,
    quotas::{Amount, Holding, Holdings},
    state::{self, Answer, Refused, Standing, State},
};
use crate::{
    metrics,
    ordered::{DrainOrder, QuotaOrders},
    told::Told,
};

/// The share of a worker that says nothing about it.
const WEIGHT: u32 = 100;

#[derive(Debug)]
pub(super) struct Service {
    clock: Arc<dyn Clock>,
    /// Those in force.
    config: Mutex<Config>,
    state: Mutex<State>,
    /// Placements that were refused.
    refused: Told<(JobId, &'static str)>,
}

impl Service {
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        let state = Mutex::new(State::new(&config));
        Self { clock, config: Mutex::new(config), state, refused: Told::default() }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes new settings, as far as they can change at run time.
    pub fn reload(&self, wanted: Config) -> Result<Reloaded, InvalidConfig> {
        wanted.validate()?;
        let mut config = self.config();
        let (next, reloaded) = config::reload(&*config, wanted, &Config::FIXED);
        self.state().configure(&next);
        if next.log_filter != config.log_filter {
            telemetry::filter_logs(&next.log_filter);
        }
        *config = next;
        tracing::info!(changed = ?reloaded.changed, refused = ?reloaded.refused, "took new settings");
        Ok(reloaded)
    }

    /// Settings that differ from those in force and cannot change at run time.
    pub fn refused_settings(&self, wanted: &Config) -> Vec<String> {
        config::reload(&*self.config(), wanted.clone(), &Config::FIXED).1.refused
    }

    pub fn workers(&self) -> Vec<Standing> {
        self.state().workers(self.clock.now())
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
        let report = decode(report)?;
        let now = self.clock.now();
        let answer = {
            let mut state = self.state();
            let answer = state.heartbeat(now, report);
            metrics::workers_alive(state.alive(now));
            answer.map_err(|error| RpcError::new(ErrorCode::Stale, error.to_string()))?
        };
        (0..answer.ended.just_expired).for_each(|_| metrics::expired_job());
        Ok(Response::new(encode(answer, self.config().heartbeat_interval_ms)))
    }

    async fn place(&self, request: Request<pb::PlaceRequest>) -> Result<Response<pb::PlaceAnswer>, Status> {
        let request = request.into_inner();
        let copies = request.copies.max(1) as usize;
        let request = state::Request {
            shuffle: required(request.shuffle, "shuffle")?,
            partitions: request.partitions.into_iter().map(PartitionIndex).collect(),
            epoch: Epoch(request.epoch),
            copies,
            copies_min: (request.copies_min.max(1) as usize).min(copies),
            user: request.user,
            tags: request.tags,
            refused: request.excluded,
        };
        let placed = self.state().place(self.clock.now(), &request);
        let target = placed.map_err(|refused| {
            let code = match refused {
                Refused::TooFew(_) => ErrorCode::NoRoom,
                Refused::OverQuota(_) => ErrorCode::QuotaExceeded,
            };
            metrics::refused_placement(code);
            let job = request.shuffle.job;
            if self.refused.is_news((job, code.as_str())) {
                tracing::warn!(%job, reason = %refused, "a placement was refused");
            }
            RpcError::new(code, refused.to_string())
        })?;
        metrics::placed(target.locations.len());
        Ok(Response::new(pb::PlaceAnswer { target: Some((&target).into()) }))
    }

    async fn keep_alive(
        &self,
        request: Request<pb::KeepAliveRequest>,
    ) -> Result<Response<pb::KeepAliveAnswer>, Status> {
        let jobs = jobs(&request.into_inner().jobs)?;
        self.state().keep_alive(self.clock.now(), jobs);
        Ok(Response::new(pb::KeepAliveAnswer {}))
    }

    async fn release_job(
        &self,
        request: Request<pb::ReleaseJobRequest>,
    ) -> Result<Response<pb::ReleaseAnswer>, Status> {
        let job = job_id(&request.into_inner().job, "job")?;
        self.state().release(self.clock.now(), job);
        Ok(Response::new(pb::ReleaseAnswer {}))
    }

    async fn list_workers(
        &self,
        _: Request<pb::ListWorkersRequest>,
    ) -> Result<Response<pb::ListWorkersAnswer>, Status> {
        let now = self.clock.now();
        let workers = self.workers().into_iter().map(|standing| info(now, standing));
        Ok(Response::new(pb::ListWorkersAnswer { workers: workers.collect() }))
    }
}

fn decode(report: pb::WorkerHeartbeat) -> Result<Report, DecodeError> {
    let address: WorkerAddress = required(report.address, "address")?;
    // A worker names every job; what it holds of each is said apart.
    let mut holdings: Holdings =
        jobs(&report.jobs)?.into_iter().map(|job| (job, Holding::default())).collect();
    for usage in report.job_usage {
        let amount = Amount { bytes: usage.bytes, locations: usage.locations };
        holdings.insert(job_id(&usage.job, "job_usage.job")?, Holding { user: usage.user, amount });
    }
    Ok(Report {
        address: Arc::new(address),
        admin: report.admin,
        site: Site { zone: report.zone, rack: report.rack, host: report.host },
        tags: report.tags,
        weight: if report.weight == 0 { WEIGHT } else { report.weight },
        usage: report.usage.unwrap_or_default(),
        holdings,
        draining: report.draining,
        left: report.left,
        drain: DrainOrder::decode(report.drain, report.drain_at_ms),
        exclusion: report.exclusion.map(Into::into),
        quotas: QuotaOrders::decode(report.quotas),
        leaves_at: (report.leaves_at_ms > 0).then(|| Timestamp::from_millis(report.leaves_at_ms)),
    })
}

fn info(now: Timestamp, standing: Standing) -> pb::WorkerInfo {
    let state = state_of(&standing, now);
    let until = match state {
        "excluded" => standing.excluded.as_ref().map(|exclusion| exclusion.until),
        "leaving" => standing.member.report.leaves_at,
        "suspected" => standing.suspected_until,
        _ => None,
    };
    let leaving = standing.member.report.leaves_at.is_some_and(|at| now <= at);
    let is_excluded = standing.excluded.is_some();
    let because = standing.excluded.filter(|_| state == "excluded").map(|exclusion| exclusion.reason);
    let report = standing.member.report;
    pb::WorkerInfo {
        address: Some(report.address.as_ref().into()),
        jobs: u32::try_from(report.holdings.len()).unwrap_or(u32::MAX),
        last_heartbeat_ms: standing.member.reported_at.as_millis(),
        alive: standing.alive,
        draining: standing.draining,
        leaving,
        serving: standing.alive && !standing.draining && !leaving && !is_excluded,
        state: state.to_owned(),
        because: because.unwrap_or_default(),
        until_ms: until.map_or(0, |until| until.as_millis()),
        zone: report.site.zone,
        rack: report.site.rack,
        tags: report.tags,
        usage: Some(report.usage),
    }
}

fn encode(answer: Answer, interval_ms: u64) -> pb::HeartbeatAnswer {
    let (drain, drain_at_ms) = DrainOrder::encode(answer.drain);
    pb::HeartbeatAnswer {
        expired_jobs: answer.ended.expired.into_iter().map(job_bytes).collect(),
        interval_ms,
        released_jobs: answer.ended.released.into_iter().map(job_bytes).collect(),
        over_quota_jobs: answer.over_quota.into_iter().map(job_bytes).collect(),
        drain,
        exclusion: answer.exclusion.map(Into::into),
        drain_at_ms,
        quotas: answer.quotas.encode(),
    }
}

fn jobs(jobs: &[bytes::Bytes]) -> Result<Vec<JobId>, DecodeError> {
    jobs.iter().map(|job| job_id(job, "jobs")).collect()
}
