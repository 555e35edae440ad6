//! The owner's side of shuffles, for the coordinator alone: reserve, pick winners, commit, release.
//!
//! Decided here: that a reservation is all or nothing, that a commit's answer is total, and which partitions are
//! complete. Not here: journaling, and when any of this happens.

mod calls;
mod commit;
mod epochs;
mod ledger;
mod map_ends;
mod reserve;
mod sources;
mod verdicts;
mod workers;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use penstock_common::{lately::Lately, net::Network};
use penstock_protocol::{
    credentials::{Calls, Credentials},
    ids::{JobId, ShuffleId, WorkerId},
    pb,
    shuffle::{Location, WorkerAddress},
    status::RpcError,
    token::ClusterSecret,
    wire::common::job_bytes,
};

pub use self::{
    epochs::{Epochs, UnknownEpoch},
    ledger::Ledger,
    map_ends::{MapEnds, Recorded},
    sources::{IncompleteError, sources, totals_of},
};

use self::verdicts::Promised;
use crate::suspects::Suspects;

/// Why an owner's call did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// No worker takes new data, or none did in time.
    #[error("no shuffle worker takes new data: {reason}")]
    NoWorkers { reason: String },
    /// The job, or all jobs of its user, hold as much as they may. Nothing was placed.
    #[error("{reason}")]
    OverQuota { reason: String },
    #[error("the shuffle master at {addresses} cannot be reached: {reason}")]
    Master { addresses: String, reason: String },
    /// Nothing stays reserved.
    #[error("reserving shuffle {shuffle} on worker {worker}: {reason}")]
    Reserve { shuffle: ShuffleId, worker: WorkerId, reason: String },
}

/// What is known of a job besides its data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// Whose quota it uses. Empty: that of jobs without a user.
    pub user: String,
    /// Only workers with all of these tags hold its data.
    pub tags: Vec<String>,
}

/// Calls the master and the workers on behalf of all jobs of a coordinator.
#[derive(Debug)]
pub struct Owner {
    network: Arc<dyn Network>,
    masters: Vec<String>,
    /// The position of the master that answered last.
    answering: AtomicUsize,
    /// What the masters should know of jobs when they place.
    profiles: Mutex<BTreeMap<JobId, Profile>>,
    channels: Mutex<HashMap<String, Calls>>,
    credentials: Credentials,
    /// Workers that each location lies on, if there are so many.
    copies: u32,
    /// Where data of each job may be, so that a release reaches it at once. The master's expiry does not depend on it.
    placed: Mutex<BTreeMap<JobId, BTreeSet<Arc<WorkerAddress>>>>,
    /// What early commits were told.
    promised: Mutex<BTreeMap<ShuffleId, Promised>>,
    /// What comes late for these is not remembered.
    released: Mutex<Lately<JobId>>,
    /// A worker that shows no sign of life for so long is not waited for if another one can do the same.
    silence: Duration,
    suspects: Suspects,
    /// How long writers wait for a worker that takes their next epoch.
    patience: Duration,
    /// The number of the next placement.
    placements: AtomicU64,
}

const SILENCE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
/// More than calls can be on their way for when they are released.
const RELEASED_MAX: usize = 10_000;

impl Owner {
    /// `masters` are `host:port` of the control service; the first that answers is asked.
    pub fn new(network: Arc<dyn Network>, masters: Vec<String>) -> Self {
        Self {
            network,
            masters,
            answering: AtomicUsize::new(0),
            profiles: Mutex::default(),
            channels: Mutex::default(),
            credentials: Credentials::default(),
            copies: 1,
            placed: Mutex::default(),
            promised: Mutex::default(),
            released: Mutex::new(Lately::new(RELEASED_MAX)),
            silence: SILENCE,
            suspects: Suspects::default(),
            patience: PATIENCE,
            placements: AtomicU64::new(0),
        }
    }

    /// The number of its first placement. Workers ignore what belongs to an earlier one, so whoever owns shuffles after this
    /// owner has to begin with a larger number than this one came to, such as the time of its start.
    pub fn with_placements_from(self, first: u64) -> Self {
        Self { placements: AtomicU64::new(first), ..self }
    }

    /// Says whose a job is and what its workers must have; counts until the job is released.
    pub fn describe(&self, job: JobId, profile: Profile) {
        lock(&self.profiles).insert(job, profile);
    }

    fn profile(&self, job: JobId) -> Profile {
        lock(&self.profiles).get(&job).cloned().unwrap_or_default()
    }

    /// Keeps each location on two workers, or on one. With two the loss of a worker loses nothing.
    pub fn with_copies(self, copies: u32) -> Self {
        Self { copies, ..self }
    }

    /// How long a worker may show no sign of life before another one is turned to.
    pub fn with_silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// How long [`Self::extend`] waits while no worker takes new data.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Shows with every call that it comes from the cluster.
    pub fn with_secret(self, secret: Option<&ClusterSecret>) -> Self {
        Self { credentials: Credentials::new(secret), ..self }
    }

    /// Deletes everything of a job: at once on the workers that this owner placed it on, and through the master on all.
    pub async fn release_job(&self, job: JobId) -> Result<(), OwnerError> {
        lock(&self.released).add(job);
        let workers = lock(&self.placed).remove(&job).unwrap_or_default();
        lock(&self.profiles).remove(&job);
        lock(&self.promised).retain(|shuffle, _| shuffle.job != job);
        self.release_on(workers, || pb::release_request::What::Job(job_bytes(job))).await;
        self.tell_masters(async |mut master| {
            master.release_job(pb::ReleaseJobRequest { job: job_bytes(job) }).await.map(drop)
        })
        .await
    }

    /// Deletes one shuffle of a job that goes on. What cannot be reached now goes with the job.
    pub async fn release_shuffle(&self, shuffle: ShuffleId) {
        let workers = lock(&self.placed).get(&shuffle.job).cloned().unwrap_or_default();
        lock(&self.promised).remove(&shuffle);
        self.release_on(workers, || pb::release_request::What::Shuffle(shuffle.into())).await;
    }

    /// Says that these jobs' data is still wanted. To be called well within the master's job lease.
    pub async fn keep_alive(&self, jobs: &[JobId]) -> Result<(), OwnerError> {
        let jobs: Vec<_> = jobs.iter().map(|job| job_bytes(*job)).collect();
        self.tell_masters(async |mut master| {
            master.keep_alive(pb::KeepAliveRequest { jobs: jobs.clone() }).await.map(drop)
        })
        .await
    }

    /// The workers that live and are about to leave: those that drain, and while others serve those whose machines go.
    pub async fn leaving(&self) -> Result<BTreeSet<WorkerId>, OwnerError> {
        let listed = self
            .ask_master(async |mut master| master.list_workers(pb::ListWorkersRequest {}).await)
            .await?
            .into_inner();
        let others = listed.workers.iter().any(|worker| worker.serving);
        let leaves = |worker: &pb::WorkerInfo| worker.draining || worker.leaving && others;
        let leaving = listed.workers.into_iter().filter(|worker| worker.alive && leaves(worker));
        Ok(leaving.filter_map(|worker| Some(WorkerId::new(worker.address?.worker))).collect())
    }

    async fn release_on(
        &self,
        workers: BTreeSet<Arc<WorkerAddress>>,
        what: impl Fn() -> pb::release_request::What,
    ) {
        let release = workers.into_iter().map(|worker| self.release_quietly(worker, what()));
        futures::future::join_all(release).await;
    }

    async fn release_quietly(&self, worker: Arc<WorkerAddress>, what: pb::release_request::What) {
        let request = pb::ReleaseRequest { incarnation: worker.incarnation.0, what: Some(what) };
        if let Err(error) = self.release_at(&worker, request).await {
            tracing::debug!(worker = %worker.worker, %error, "a release waits for the master");
        }
    }

    async fn release_at(&self, worker: &WorkerAddress, request: pb::ReleaseRequest) -> Result<(), RpcError> {
        self.ask_worker(worker, calls::RELEASE, async |mut client| {
            client.release(request.clone()).await.map(drop)
        })
        .await
    }

    fn remember(&self, job: JobId, locations: &[Location]) {
        let workers = locations.iter().flat_map(Location::workers).cloned();
        let mut placed = lock(&self.placed);
        if !self.was_released(job) {
            placed.entry(job).or_default().extend(workers);
        }
    }

    fn was_released(&self, job: JobId) -> bool {
        lock(&self.released).contains(&job)
    }
}

/// Copies with their positions, worker by worker in order of appearance.
fn by_worker(locations: &[Location]) -> Vec<(Arc<WorkerAddress>, Vec<usize>)> {
    let mut groups: Vec<(Arc<WorkerAddress>, Vec<usize>)> = Vec::new();
    let mut positions: HashMap<&WorkerAddress, usize> = HashMap::new();
    for (index, location) in locations.iter().enumerate() {
        let group = *positions.entry(&location.worker).or_insert_with(|| {
            groups.push((Arc::clone(&location.worker), Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(index);
    }
    groups
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
