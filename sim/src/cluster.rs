//! The processes of the cluster, each on a simulated host: how a life of each role begins, and how it stops in order.
//!
//! In: the scenario. Out: hosts that turmoil can crash and start again. What outlives a process (the job store, disks) is
//! kept here. Not here: when what happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_common::{
    bytes::ByteSize,
    lifecycle::{CancellationToken, Tasks},
};
use penstock_coordinator as coordinator;
use penstock_executor as executor;
use penstock_protocol::ids::JobId;
use penstock_shuffle_client::ShuffleClient;
use penstock_shuffle_service::{master, worker};

use crate::{
    clock::SimClock,
    disk::SimDisk,
    engine::ScriptedRunner,
    exercise::{self, Feature},
    network::{SimNetwork, Weather},
    objects::SimObjects,
    oracle::Oracle,
    planner::SimPlanner,
    random::mix,
    record::Record,
    scenario::Sizes,
    store::SimStore,
    topology::{Host, MASTER_ADMIN_PORT, MASTER_PORT, Role, Topology, WORKER_CONTROL_PORT, WORKER_DATA_PORT},
    workload::JobPlan,
};

/// How long results can be fetched.
pub const RESULTS_TTL: Duration = Duration::from_secs(15);
/// How long data stays that nobody asks for; coordinators ask every ten seconds.
pub const JOB_LEASE: Duration = Duration::from_secs(30);
/// How long a process that was asked to stop may take.
const STOP: Duration = Duration::from_secs(20);

/// What all hosts share and what outlives them.
#[derive(Debug)]
pub struct World {
    pub seed: u64,
    pub sizes: Sizes,
    pub record: Arc<Record>,
    pub weather: Arc<Weather>,
    pub store: Arc<SimStore>,
    /// What every shuffle must give its readers.
    pub oracle: Arc<Oracle>,
    /// `host:port` of each.
    pub masters: Vec<String>,
    pub disks: BTreeMap<Arc<str>, Arc<SimDisk>>,
    /// Of each worker, whether it uses one or not.
    pub objects: BTreeMap<Arc<str>, SimObjects>,
    /// What the coordinator wants a folder for although it writes nothing that matters.
    pub folder: PathBuf,
    /// Asks the present life of a host to stop.
    stops: Mutex<BTreeMap<Arc<str>, CancellationToken>>,
    /// Kills the present life of a host.
    deaths: Mutex<BTreeMap<Arc<str>, CancellationToken>>,
    /// Hosts whose process has ended and waits to be cleared away.
    exited: Mutex<BTreeSet<Arc<str>>>,
}

/// What one life of a host has of its own.
pub struct Life {
    pub host: Arc<str>,
    pub tasks: Tasks,
    pub network: Arc<SimNetwork>,
    pub clock: Arc<SimClock>,
    stop: CancellationToken,
    death: CancellationToken,
}

impl World {
    pub fn new(
        seed: u64,
        sizes: Sizes,
        topology: &Topology,
        jobs: &[JobPlan],
        weather: Arc<Weather>,
        folder: PathBuf,
    ) -> anyhow::Result<Self> {
        let record = Arc::clone(&weather.record);
        let disk =
            |host: Host| (Arc::clone(&host.name), Arc::new(SimDisk::new(seed, host, Arc::clone(&record))));
        let objects = |host: Host| {
            let name = Arc::clone(&host.name);
            anyhow::Ok((name, SimObjects::new(seed, host, Arc::clone(&record))?))
        };
        let store = SimStore::new(seed, sizes.store_delay_max_ms, Arc::clone(&record));
        Ok(Self {
            seed,
            sizes,
            weather,
            store: Arc::new(store),
            oracle: Arc::new(Oracle::of(jobs)),
            masters: topology.masters(),
            disks: topology.of(Role::Worker).into_iter().map(disk).collect(),
            objects: topology.of(Role::Worker).into_iter().map(objects).collect::<Result<_, _>>()?,
            folder,
            stops: Mutex::default(),
            deaths: Mutex::default(),
            exited: Mutex::default(),
            record,
        })
    }

    pub fn begin(&self, host: &Arc<str>) -> Life {
        let (stop, death) = (CancellationToken::new(), CancellationToken::new());
        lock(&self.stops).insert(Arc::clone(host), stop.clone());
        lock(&self.deaths).insert(Arc::clone(host), death.clone());
        self.record.line(format_args!("{host} begins"));
        let (weather, carriers) = (Arc::clone(&self.weather), Tasks::new(format!("{host} wires")));
        Life {
            host: Arc::clone(host),
            tasks: Tasks::new(host.to_string()),
            network: Arc::new(SimNetwork {
                host: Arc::clone(host),
                weather,
                tasks: carriers,
                sockets: Arc::default(),
            }),
            clock: Arc::new(SimClock::starting_at(self.record.now_ms())),
            stop,
            death,
        }
    }

    /// Asks a host to stop in order.
    pub fn stop(&self, host: &str) {
        if let Some(stop) = lock(&self.stops).get(host) {
            stop.cancel();
        }
    }

    /// Kills a host: its sockets go in the next step, and everything else when it is cleared away.
    pub fn kill(&self, host: &str) {
        if let Some(death) = lock(&self.deaths).get(host) {
            death.cancel();
        }
    }

    /// Hosts that have ended since this was last asked.
    pub fn exited(&self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut *lock(&self.exited))
    }

    fn has_exited(&self, host: &Arc<str>) {
        self.record.line(format_args!("{host} has ended"));
        lock(&self.exited).insert(Arc::clone(host));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One life of a server, to its end. A server never fails by itself, whatever happens around it.
pub async fn live(world: Arc<World>, host: Host) -> turmoil::Result {
    let life = world.begin(&host.name);
    tokio::select! {
        biased;
        () = life.death.cancelled() => {}
        () = serve(&world, &life, &host) => {}
    }
    world.record.dies(&host.name);
    life.network.sockets.close();
    world.has_exited(&host.name);
    // What is left of a process goes when its host is cleared away.
    std::future::pending().await
}

/// Until it has stopped in order.
async fn serve(world: &Arc<World>, life: &Life, host: &Host) {
    let started = match host.role {
        Role::Coordinator => start_coordinator(world, life).await.map(|()| None),
        Role::Master => start_master(life).await.map(|()| None),
        Role::Worker => start_worker(world, life).await.map(Some),
        Role::Executor => start_executor(world, life).await.map(|()| None),
        Role::Client => Ok(None),
    };
    let worker = match started {
        Ok(worker) => worker,
        Err(error) => {
            world.record.violation("servers-start", format!("{host}: {error:#}"));
            return std::future::pending().await;
        }
    };
    tokio::select! {
        biased;
        failure = life.tasks.failed() => {
            world.record.violation("servers-do-not-fail", format!("{host}: {failure}"));
            std::future::pending().await
        }
        () = life.stop.cancelled() => {
            // As the binary does at SIGTERM.
            if let Some(worker) = worker {
                worker.drain().await;
            }
            if let Err(stragglers) = life.tasks.stop(STOP).await {
                world.record.violation("servers-stop-in-time", format!("{host}: {stragglers}"));
            }
        }
    }
}

async fn start_coordinator(world: &Arc<World>, life: &Life) -> anyhow::Result<()> {
    let config = coordinator::Config {
        rest_addr: "0.0.0.0:7070".to_owned(),
        grpc_addr: "0.0.0.0:7071".to_owned(),
        state_dir: world.folder.clone(),
        shuffle_masters: world.masters.clone(),
        shuffle_copies: world.sizes.copies,
        heartbeat_interval_ms: 500,
        executor_timeout_ms: 4_000,
        results_ttl_seconds: RESULTS_TTL.as_secs(),
        ..coordinator::Config::default()
    };
    let parts = coordinator::Parts {
        planner: Some(Arc::new(SimPlanner { inline_bytes_max: world.sizes.inline_bytes_max })),
        store: Some(world.store.clone()),
        event_log: Some(Arc::new(EventLog(Arc::clone(&world.record)))),
        ids_seed: Some(mix(&[world.seed, world.record.now_ms()])),
        ..coordinator::Parts::default()
    };
    world.record.coordinator_began();
    coordinator::start_with(config, life.network.clone(), life.clock.clone(), life.tasks.clone(), parts)
        .await?;
    Ok(())
}

/// Counts; the journal in the store tells the same and more.
#[derive(Debug)]
struct EventLog(Arc<Record>);

impl coordinator::event_log::Recorder for EventLog {
    fn record(
        &self,
        _: JobId,
        _: penstock_common::clock::Timestamp,
        event: &penstock_protocol::event::Event,
    ) {
        exercise::log(&self.0, event);
    }
}

async fn start_master(life: &Life) -> anyhow::Result<()> {
    let config = master::Config {
        control_listen: format!("0.0.0.0:{MASTER_PORT}"),
        admin_listen: format!("0.0.0.0:{MASTER_ADMIN_PORT}"),
        heartbeat_interval_ms: 500,
        worker_timeout_ms: 3_000,
        job_lease_ms: JOB_LEASE.as_millis() as u64,
        ..master::Config::default()
    };
    master::start(config, life.network.clone(), life.clock.clone(), life.tasks.clone()).await?;
    Ok(())
}

async fn start_worker(world: &World, life: &Life) -> anyhow::Result<worker::Handle> {
    let config = worker::Config {
        name: life.host.to_string(),
        control_listen: format!("0.0.0.0:{WORKER_CONTROL_PORT}"),
        data_listen: format!("0.0.0.0:{WORKER_DATA_PORT}"),
        admin_listen: String::new(),
        advertise_host: life.host.to_string(),
        masters: world.masters.clone(),
        disks: world.sizes.storage.disks(),
        object_store: world.sizes.storage.object_store(),
        object_store_timeout_ms: 2_000,
        create_in: world.sizes.storage.create_in,
        evict_from_percent: 10,
        evict_to_percent: 0,
        memory_bytes_max: ByteSize::mib(8),
        flush_from_percent: world.sizes.flush_from_percent,
        flush_to_percent: 0,
        disk_reserve_bytes: ByteSize(0),
        disk_probe_interval_ms: 2_000,
        disk_hang_ms: 4_000,
        keep_data: world.sizes.keep_data,
        fsync: world.sizes.fsync,
        split_from_bytes: ByteSize(world.sizes.split_from_bytes),
        drain_seconds: world.sizes.drain_seconds,
        // Longer than any disk hangs: that costs time and nothing else.
        commit_timeout_ms: 20_000,
        heartbeat_interval_ms: 500,
        ..worker::Config::default()
    };
    let disk = Arc::clone(&world.disks[&life.host]);
    if config.keep_data && disk.file_count() > 0 {
        world.record.exercised(Feature::RestartsOnData, 1);
    }
    let object_store = world.sizes.storage.has_objects.then(|| world.objects[&life.host].operator());
    let storage = worker::Storage { disk, object_store };
    Ok(worker::start_on(config, life.network.clone(), life.clock.clone(), storage, life.tasks.clone())
        .await?)
}

async fn start_executor(world: &World, life: &Life) -> anyhow::Result<()> {
    let config = executor::Config {
        name: life.host.to_string(),
        coordinator_addr: crate::topology::GRPC.to_owned(),
        http_addr: "0.0.0.0:7090".to_owned(),
        slots: world.sizes.slots,
        drain_seconds: 3,
        ..executor::Config::default()
    };
    // Of the wires and not of the executor: its attempts go on while it drains.
    let epochs = Arc::new(executor::Epochs::default());
    let (network, options) = (life.network.clone(), world.sizes.client.clone());
    let client =
        ShuffleClient::with_reviver(network, options, Arc::clone(&epochs) as _, life.network.tasks.clone());
    let (executor, record, oracle) =
        (Arc::clone(&life.host), Arc::clone(&world.record), Arc::clone(&world.oracle));
    let runner = ScriptedRunner { executor, client, record, oracle };
    let parts = executor::Parts { runner: Some(Arc::new(runner)), epochs, ..Default::default() };
    executor::start_with(config, life.network.clone(), life.clock.clone(), life.tasks.clone(), parts).await?;
    Ok(())
}
