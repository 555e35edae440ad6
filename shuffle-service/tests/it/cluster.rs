//! A master, some workers, an owner and a client, all in this process.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use penstock_common::{
    bytes::ByteSize,
    clock::{TestClock, Timestamp},
    lifecycle::Tasks,
    net::{Network, Tcp},
};
use penstock_protocol::{
    ids::{AttemptId, AttemptNumber, JobId, PartitionIndex, ShuffleId, StageId, TaskId, TaskIndex, WorkerId},
    shuffle::{CommitVerdict, Location, MapOutput, PartitionSource, ShuffleTarget, Winner},
    token::ClusterSecret,
};
use penstock_shuffle_client::{
    ClientOptions, FetchError, PushError, ShuffleClient, Writer,
    owner::{Ledger, Owner, sources},
};
use penstock_shuffle_service::{
    disk::{FaultyDisk, MemoryDisk},
    master, worker,
};
use uuid::Uuid;

pub struct Cluster {
    pub clock: Arc<TestClock>,
    /// The first of `masters`.
    pub master: master::Handle,
    pub masters: Vec<Master>,
    pub workers: Vec<Worker>,
    pub owner: Arc<Owner>,
    pub ledger: Arc<Ledger>,
    pub client: ShuffleClient,
    worker_network: Arc<dyn Network>,
    tasks: Tasks,
    _secret: Option<tempfile::NamedTempFile>,
}

pub struct Master {
    pub handle: master::Handle,
    pub config: master::Config,
    tasks: Tasks,
}

pub struct Worker {
    pub handle: worker::Handle,
    /// What is stored, below what goes wrong.
    pub disk: Arc<MemoryDisk>,
    pub faults: Arc<FaultyDisk>,
    pub config: worker::Config,
    tasks: Tasks,
}

/// What a test wants to be different.
pub struct Setup {
    pub workers: usize,
    pub memory: ByteSize,
    pub disk: u64,
    pub locations_max: usize,
    pub options: ClientOptions,
    /// Of the clients.
    pub network: Arc<dyn Network>,
    pub worker_network: Arc<dyn Network>,
    pub masters: usize,
    pub configure_master: fn(&mut master::Config),
    /// By the worker's number.
    pub configure_worker: fn(usize, &mut worker::Config),
    /// Any other setting of the workers.
    pub configure: fn(&mut worker::Config),
    pub copies: u32,
    /// Whether writers may go on in new epochs.
    pub revive: bool,
    pub split_from: u64,
    /// Switches tokens on.
    pub secret: Option<&'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 2,
            memory: ByteSize::mib(64),
            disk: u64::MAX,
            locations_max: 1000,
            // Workers that go are not waited for.
            options: ClientOptions { absence_ms: 0, outage_ms: 0, ..ClientOptions::default() },
            network: Arc::new(Tcp),
            worker_network: Arc::new(Tcp),
            masters: 1,
            configure_master: |_| {},
            configure_worker: |_, _| {},
            configure: |_| {},
            copies: 1,
            revive: false,
            split_from: 1 << 30,
            secret: None,
        }
    }
}

impl Setup {
    /// Two copies of everything, and writers that go on in new epochs.
    pub fn replicated(workers: usize) -> Self {
        Self { workers, copies: 2, revive: true, ..Self::default() }
    }
}

pub const JOB: JobId = JobId(Uuid::from_u128(1));
pub const SHUFFLE: ShuffleId = shuffle(0);

pub const fn shuffle(exchange: u32) -> ShuffleId {
    ShuffleId { job: JOB, exchange: StageId(exchange), run: 0 }
}

pub fn attempt(map: u32, number: u32) -> AttemptId {
    AttemptId {
        task: TaskId { job: JOB, stage: StageId(0), index: TaskIndex(map) },
        number: AttemptNumber(number),
    }
}

pub fn winner(map: u32, number: u32) -> Winner {
    Winner { map: TaskIndex(map), attempt: AttemptNumber(number) }
}

pub async fn cluster(setup: Setup) -> Cluster {
    let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_000_000)));
    let tasks = Tasks::new("test");
    let secret = setup.secret.map(|secret| ClusterSecret::parse(secret.as_bytes()).unwrap());
    let secret_file = setup.secret.map(|secret| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), secret).unwrap();
        file
    });
    let secret_path = secret_file.as_ref().map(|file| file.path().to_owned()).unwrap_or_default();
    let mut masters = Vec::new();
    for _ in 0..setup.masters {
        let mut config = master::Config {
            control_listen: "127.0.0.1:0".into(),
            admin_listen: "127.0.0.1:0".into(),
            heartbeat_interval_ms: 20,
            cluster_secret_file: secret_path.clone(),
            ..Default::default()
        };
        (setup.configure_master)(&mut config);
        masters.push(start_master(config, &clock, &tasks).await);
    }
    let addresses: Vec<_> = masters.iter().map(|master| master.handle.control.to_string()).collect();
    let owner = Owner::new(Arc::new(Tcp), addresses.clone());
    let owner = Arc::new(owner.with_copies(setup.copies).with_secret(secret.as_ref()));
    let ledger = Ledger::new(Arc::clone(&owner)).closing_early(tasks.child("ledger"));
    let ledger = Arc::new(ledger);
    let (network, options) = (Arc::clone(&setup.network), setup.options.clone());
    let client = match setup.revive {
        true => ShuffleClient::with_reviver(network, options, ledger.clone(), tasks.clone()),
        false => ShuffleClient::new(network, options, tasks.clone()),
    };
    let client = client.with_secret(secret);
    let master = masters[0].handle.clone();
    let workers = Vec::new();
    let worker_network = Arc::clone(&setup.worker_network);
    let mut cluster = Cluster {
        clock,
        master,
        masters,
        workers,
        owner,
        ledger,
        client,
        worker_network,
        tasks,
        _secret: secret_file,
    };
    for index in 0..setup.workers {
        let mut config = worker::Config {
            name: format!("w{index}"),
            admin_listen: String::new(),
            masters: addresses.clone(),
            data_dirs: vec!["data".into()],
            memory_bytes_max: setup.memory,
            disk_reserve_bytes: ByteSize(0),
            locations_max: setup.locations_max,
            split_from_bytes: ByteSize(setup.split_from),
            heartbeat_interval_ms: 20,
            cluster_secret_file: secret_path.clone(),
            ..Default::default()
        };
        (setup.configure_worker)(index, &mut config);
        (setup.configure)(&mut config);
        let disk = Arc::new(MemoryDisk::with_bytes_max(setup.disk));
        let worker = cluster.start(config, disk).await;
        cluster.workers.push(worker);
    }
    cluster
}

async fn start_master(config: master::Config, clock: &Arc<TestClock>, tasks: &Tasks) -> Master {
    let tasks = tasks.child("master");
    let handle = master::start(config.clone(), Arc::new(Tcp), clock.clone(), tasks.clone()).await.unwrap();
    Master { handle, config, tasks }
}

impl Master {
    pub async fn stop(&self) {
        self.tasks.stop(Duration::from_secs(10)).await.unwrap();
    }
}

impl Cluster {
    /// A master that knows nothing, at the address of a former one.
    pub async fn restart_master(&self, master: &Master) -> Master {
        let control_listen = master.handle.control.to_string();
        start_master(master::Config { control_listen, ..master.config.clone() }, &self.clock, &self.tasks)
            .await
    }

    /// An owner of its own.
    pub fn owner_at(&self, masters: &[&Master]) -> Owner {
        let masters = masters.iter().map(|master| master.handle.control.to_string()).collect();
        Owner::new(Arc::new(Tcp), masters)
    }

    pub async fn start(&self, config: worker::Config, disk: Arc<MemoryDisk>) -> Worker {
        let faults = Arc::new(FaultyDisk::new(disk.clone()));
        self.start_with(config, disk, faults).await
    }

    /// On a disk that may misbehave already.
    pub async fn start_with(
        &self,
        config: worker::Config,
        disk: Arc<MemoryDisk>,
        faults: Arc<FaultyDisk>,
    ) -> Worker {
        let tasks = self.tasks.child("worker");
        let (on, network) = (faults.clone(), Arc::clone(&self.worker_network));
        let handle = worker::start_on(config.clone(), network, self.clock.clone(), on.into(), tasks.clone())
            .await
            .unwrap();
        handle.registered().await;
        Worker { handle, disk, faults, config, tasks }
    }

    /// The next life of a worker on `disk`, under the same name and addresses, as a process of a deployment has. The former
    /// one is stopped in order; what it does then to its own disk is seen only if `disk` is that one.
    pub async fn restart(&self, worker: &Worker, disk: Arc<MemoryDisk>) -> Worker {
        let faults = Arc::new(FaultyDisk::new(disk.clone()));
        self.restart_with(worker, disk, faults).await
    }

    pub async fn restart_with(
        &self,
        worker: &Worker,
        disk: Arc<MemoryDisk>,
        faults: Arc<FaultyDisk>,
    ) -> Worker {
        worker.stop().await;
        self.clock.advance(Duration::from_secs(1));
        let mut config = worker.config.clone();
        config.control_listen = worker.handle.control.to_string();
        config.data_listen = worker.handle.data.to_string();
        self.start_with(config, disk, faults).await
    }

    pub async fn reserve(&self, shuffle: ShuffleId, partitions: u32) -> Arc<ShuffleTarget> {
        Arc::new(self.ledger.reserve(shuffle, partitions).await.unwrap())
    }

    pub async fn writer(&self, target: &Arc<ShuffleTarget>, map: u32, number: u32) -> Writer {
        self.client.writer(attempt(map, number), Arc::clone(target)).await.unwrap()
    }

    /// Runs one attempt: pushes `(partition, payload)` in order, one row per byte.
    pub async fn write(
        &self,
        target: &Arc<ShuffleTarget>,
        map: u32,
        number: u32,
        batches: impl IntoIterator<Item = (u32, Bytes)>,
    ) -> Result<MapOutput, PushError> {
        let mut writer = self.writer(target, map, number).await;
        for (partition, payload) in batches {
            writer.push(PartitionIndex(partition), payload.len() as u32, payload).await?;
        }
        writer.finish().await
    }

    /// Commits all epochs of a shuffle that was reserved here.
    pub async fn commit(&self, target: &ShuffleTarget, winners: &[Winner]) -> Vec<(Location, CommitVerdict)> {
        let first = target.locations[0].clone();
        let all = self.ledger.all(target.shuffle).filter(|all| all.locations.contains(&first));
        self.owner.commit(all.as_ref().unwrap_or(target), winners).await.unwrap()
    }

    /// Commits and returns what readers get.
    pub async fn sources(
        &self,
        target: &ShuffleTarget,
        winners: &[Winner],
        outputs: &[MapOutput],
    ) -> Vec<PartitionSource> {
        let verdicts = self.commit(target, winners).await;
        sources(target.shuffle, &verdicts, outputs).unwrap()
    }

    pub async fn read(
        &self,
        shuffle: ShuffleId,
        winners: &[Winner],
        source: PartitionSource,
    ) -> Result<Vec<Bytes>, FetchError> {
        self.client.read(shuffle, winners.into(), source).try_collect().await
    }

    /// The number of batches before the stream ended, and how it ended.
    pub async fn read_until_error(
        &self,
        shuffle: ShuffleId,
        winners: &[Winner],
        source: PartitionSource,
    ) -> (usize, Option<FetchError>) {
        let mut stream = std::pin::pin!(self.client.read(shuffle, winners.into(), source));
        let mut batches = 0;
        while let Some(batch) = stream.next().await {
            match batch {
                Ok(_) => batches += 1,
                Err(error) => return (batches, Some(error)),
            }
        }
        (batches, None)
    }

    pub fn disk_writes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.disk.writes()).sum()
    }
}

impl Worker {
    pub fn id(&self) -> &WorkerId {
        &self.handle.address.worker
    }

    pub async fn stop(&self) {
        self.tasks.stop(Duration::from_secs(10)).await.unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.stop_token().cancel();
    }
}

/// Bytes that tell which map, partition and batch they come from.
pub fn payload(map: u32, partition: u32, batch: u32, length: usize) -> Bytes {
    let tag = [map, partition, batch].map(u32::to_le_bytes).concat();
    tag.into_iter().cycle().take(length).collect::<Vec<_>>().into()
}

/// What each partition got from each attempt, in order.
pub fn by_partition(batches: &[(u32, Bytes)]) -> BTreeMap<u32, Vec<Bytes>> {
    let mut partitions: BTreeMap<u32, Vec<Bytes>> = BTreeMap::new();
    for (partition, payload) in batches {
        partitions.entry(*partition).or_default().push(payload.clone());
    }
    partitions
}

/// Waits until something that other tasks do has happened.
pub async fn eventually(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !happened().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(), "{what} did not happen");
}
