//! The worker role: boot, in named steps.
//!
//! At start a worker takes a new incarnation. It serves what its former lives committed and could keep, under their
//! incarnations; whatever else means a former life is refused (invariant 16).

mod admin;
mod complaints;
mod config;
mod congestion;
mod connection;
mod control;
mod disks;
mod drain;
mod durable;
mod evict;
mod fetch;
mod flush;
mod forgotten;
mod guard;
mod heartbeat;
mod jobs;
mod link;
mod location;
mod manifest;
mod memory;
#[cfg(test)]
mod models;
mod objects;
mod orders;
mod pace;
mod push;
mod read_back;
mod recovery;
mod settings;
mod short_circuit;
mod site;
mod standing;
mod storage;
mod store;
mod usage;
mod write_out;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use penstock_common::{
    bytes::ByteSize,
    clock::Clock,
    config::Reloaded,
    grpc, http,
    lifecycle::{OnFailure, Tasks},
    net::{
        Listener, Network,
        tls::{self, TlsError},
    },
    telemetry,
};
use penstock_protocol::{
    credentials::Credentials,
    ids::{Incarnation, WorkerId},
    pb::shuffle_worker_server::ShuffleWorkerServer,
    shuffle::WorkerAddress,
    token::{ClusterSecret, SecretError},
};
use tokio::sync::{oneshot, watch};
use tonic::service::{Routes, interceptor::InterceptedService};

pub use self::config::{Config, DiskClass, DiskConfig, EvictFirst, Fsync, InvalidConfig, Tier};
pub(crate) use self::disks::DiskState;
pub use self::storage::Storage;
use self::{
    connection::Connections,
    control::Control,
    disks::{Disks, Monitor},
    durable::Recorder,
    evict::Evictor,
    flush::Flusher,
    forgotten::{NamedObjects, Sweeper, named_objects},
    guard::Guard,
    heartbeat::{Heartbeat, Reporter},
    link::Links,
    memory::Budget,
    objects::Objects,
    orders::Orders,
    recovery::{Recovered, recover},
    settings::Settings,
    store::Store,
};
use crate::{disk::LocalDisk, doorkeeper::Doorkeeper};

/// Between two looks for manifests that are due.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Bind(io::Error),
    #[error(
        "another process of this user listens on this host as {address}: stop it, or set short_circuit = false"
    )]
    NameTaken { address: String },
    #[error("the data folder {folder} cannot be used")]
    Folder { folder: PathBuf, source: io::Error },
    #[error("the object store {location} cannot be used")]
    ObjectStore {
        location: String,
        #[source]
        source: Box<opendal::Error>,
    },
}

/// A running worker. It runs until the `tasks` that it was started with stop.
#[derive(Debug, Clone)]
pub struct Handle {
    pub address: WorkerAddress,
    pub control: SocketAddr,
    pub data: SocketAddr,
    pub admin: Option<SocketAddr>,
    registered: watch::Receiver<bool>,
    store: Arc<Store>,
}

impl Handle {
    /// Returns once a master knows this worker.
    pub async fn registered(&self) {
        // An error says that the worker has stopped: then nobody has to wait for it.
        let _ = self.registered.clone().wait_for(|registered| *registered).await;
    }

    /// Leaves in order, before its tasks are stopped: from now on batches and reservations go elsewhere, while commits and
    /// reads are served. Returns when a stop loses nothing that somebody may still want, or after `drain_seconds`.
    pub async fn drain(&self) {
        drain::drain(&self.store, Duration::from_secs(self.store.settings.get().drain_seconds)).await;
    }

    /// Takes new settings, as far as they can change at run time; says which did and which would need a restart.
    pub fn reload(&self, config: Config) -> Result<Reloaded, InvalidConfig> {
        self.store.reload(config)
    }
}

/// Starts a worker on local disks.
pub async fn start(
    config: Config,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
) -> Result<Handle, StartError> {
    let disk = Arc::new(LocalDisk::new(config.disk_writes));
    start_on(config, network, clock, Storage::from(disk), tasks).await
}

/// Starts a worker on any disks and any object store.
pub async fn start_on(
    config: Config,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    storage: Storage,
    tasks: Tasks,
) -> Result<Handle, StartError> {
    config.validate()?;
    if !config.log_filter.is_empty() {
        telemetry::filter_logs(&config.log_filter);
    }
    let secret = ClusterSecret::load(&config.cluster_secret_file)?;
    // Metrics and health checks are read by tools: they stay plain.
    let admin_network = Arc::clone(&network);
    let network = tls::wrap(network, &config.tls, &tasks)?;
    let control = network.bind(&config.control_listen).await.map_err(StartError::Bind)?;
    let data = network.bind(&config.data_listen).await.map_err(StartError::Bind)?;
    // At the same time: whoever waits for this worker to come back takes the way that is there first.
    let local = short_circuit::listen(&config, network.as_ref(), data.as_ref()).await?;
    let worker = name(&config, data.as_ref()).map_err(StartError::Bind)?;
    let tasks = tasks.child(format!("shuffle-worker {worker}"));
    let disks = Arc::new(Disks::new(&config, &worker, storage.disk, tasks.clone()));
    disks.take_over().await.map_err(|(folder, source)| StartError::Folder { folder, source })?;
    let object_store = match storage.object_store {
        Some(object_store) => Some(object_store),
        None => objects::open(&config.object_store).map_err(|source| StartError::ObjectStore {
            location: config.shown().object_store,
            source: Box::new(source),
        })?,
    };
    let (recovered, all_listed) = recover(&disks, config.keep_data).await;
    let life = next_life(clock.as_ref(), &recovered);
    let timeout = Duration::from_millis(config.object_store_timeout_ms);
    let objects = object_store.map(|store| Objects::new(store, timeout, &worker, life));
    // A disk that does not answer now may hold the manifest of what looks forgotten.
    let named = all_listed.then(|| named_objects(&recovered));
    let address =
        address(&config, worker, life, control.as_ref(), data.as_ref()).map_err(StartError::Bind)?;
    let mut store = Store::new(
        address.worker.clone(),
        address.incarnation,
        Budget::new(&config),
        disks,
        objects.clone(),
        Settings::new(config.clone()),
    );
    store.adopt(recovered);
    let store = Arc::new(store.guarded(Guard::new(secret.clone())));
    let (memory_bytes, silence) = (store.budget.bytes_max(), Duration::from_millis(config.silence_ms));
    let links = Links::new(Arc::clone(&network), secret.clone(), memory_bytes, silence, tasks.clone());
    watch_disks(&store, &tasks).await;
    let (registered, watch_registered) = watch::channel(false);
    let admin = serve_admin(&config, admin_network.as_ref(), &store, Arc::clone(&clock), &tasks).await?;
    let handle = Handle {
        control: control.local_addr().map_err(StartError::Bind)?,
        data: data.local_addr().map_err(StartError::Bind)?,
        admin,
        address: address.clone(),
        registered: watch_registered,
        store: Arc::clone(&store),
    };
    let credentials = Credentials::new(secret.as_ref());
    serve_control(control, Control { store: Arc::clone(&store), links, clock }, secret, &tasks);
    let connections = Connections::new(Arc::clone(&store), tasks.clone());
    tasks.spawn("data-plane", OnFailure::StopAll, connections.clone().accept(data));
    if let Some(local) = local {
        tasks.spawn("local-data-plane", OnFailure::StopAll, connections.accept_local(local));
    }
    let flusher = Flusher { store: Arc::clone(&store) };
    tasks.spawn("flusher", OnFailure::StopAll, flusher.run(tasks.stop_token()));
    if let Some(objects) = objects {
        tend_objects(&store, objects, named, &tasks);
    }
    let recorder = Recorder { store: Arc::clone(&store), interval: RECORD_INTERVAL };
    tasks.spawn("recorder", OnFailure::StopAll, recorder.run(tasks.stop_token()));
    let reporter = Reporter {
        store,
        admin: admin.map(|admin| reach(&config, admin)).unwrap_or_default(),
        address: address.clone(),
        orders: Mutex::new(Orders::new(config.masters.len())),
        exclusion: Mutex::default(),
        registered,
        credentials,
    };
    report(&config, reporter, &network, &tasks);
    let memory = ByteSize(config.memory_bytes());
    tracing::info!(worker = %address.worker, incarnation = %address.incarnation, data = %address.data, %memory, "shuffle worker started");
    Ok(handle)
}

/// Fills the object store from disks that run full, and deletes what former lives left there, if it is known what they did not.
fn tend_objects(store: &Arc<Store>, objects: Objects, named: Option<NamedObjects>, tasks: &Tasks) {
    if let Some(named) = named {
        let sweeper = Sweeper { store: Arc::clone(store), objects: objects.clone(), named };
        tasks.spawn("sweeper", OnFailure::Log, sweeper.run(tasks.stop_token()));
    }
    for disk in 0..store.disks.volumes.len() {
        let evictor = Evictor { store: Arc::clone(store), objects: objects.clone(), disk };
        tasks.spawn("evictor", OnFailure::StopAll, evictor.run(tasks.stop_token()));
    }
}

/// Reports to each master, on a task of its own.
fn report(config: &Config, reporter: Reporter, network: &Arc<dyn Network>, tasks: &Tasks) {
    let reporter = Arc::new(reporter);
    for master in config.masters.iter().cloned().enumerate() {
        let interval = Duration::from_millis(config.heartbeat_interval_ms);
        let heartbeat = Heartbeat { reporter: Arc::clone(&reporter), master, interval };
        tasks.spawn("heartbeat", OnFailure::StopAll, heartbeat.run(Arc::clone(network), tasks.stop_token()));
    }
}

fn name(config: &Config, data: &dyn Listener) -> io::Result<WorkerId> {
    let name = match config.name.as_str() {
        "" => format!("worker-{}", data.local_addr()?.port()),
        name => name.to_owned(),
    };
    Ok(WorkerId::new(name))
}

/// Later than every former life of which anything is left, even if the clock was set back.
fn next_life(clock: &dyn Clock, recovered: &Recovered) -> Incarnation {
    let now = u64::try_from(clock.now().as_millis()).unwrap_or(0);
    let former = recovered.values().flatten().map(|(entry, _)| entry.life.0).max();
    Incarnation(now.max(former.map_or(0, |former| former + 1)))
}

fn address(
    config: &Config,
    worker: WorkerId,
    incarnation: Incarnation,
    control: &dyn Listener,
    data: &dyn Listener,
) -> io::Result<WorkerAddress> {
    let (control, data) = (control.local_addr()?, data.local_addr()?);
    Ok(WorkerAddress { worker, incarnation, control: reach(config, control), data: reach(config, data) })
}

/// Where others reach what listens on `address`.
fn reach(config: &Config, address: SocketAddr) -> String {
    match config.advertise_host.as_str() {
        "" => address.to_string(),
        host => format!("{host}:{}", address.port()),
    }
}

/// Watches each disk, and returns when the room on each one is known that answers.
async fn watch_disks(store: &Arc<Store>, tasks: &Tasks) {
    let first_looks = (0..store.disks.volumes.len()).map(|disk| {
        let (looked, first_look) = oneshot::channel();
        let monitor = Monitor { store: Arc::clone(store), disk };
        tasks.spawn("disk-monitor", OnFailure::StopAll, monitor.run(looked, tasks.stop_token()));
        tokio::time::timeout(store.disks.hang(), first_look)
    });
    futures::future::join_all(first_looks).await;
}

fn serve_control(
    listener: Box<dyn Listener>,
    control: Control,
    secret: Option<ClusterSecret>,
    tasks: &Tasks,
) {
    let server = ShuffleWorkerServer::new(control)
        .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX);
    let server = InterceptedService::new(server, Doorkeeper::new(secret));
    let serve = grpc::serve(listener, Routes::new(server), tasks.stop_token());
    tasks.spawn("control", OnFailure::StopAll, serve);
}

async fn serve_admin(
    config: &Config,
    network: &dyn Network,
    store: &Arc<Store>,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> Result<Option<SocketAddr>, StartError> {
    if config.admin_listen.is_empty() {
        return Ok(None);
    }
    let listener = network.bind(&config.admin_listen).await.map_err(StartError::Bind)?;
    let address = listener.local_addr().map_err(StartError::Bind)?;
    telemetry::prometheus();
    let routes = admin::routes(Arc::clone(store), clock);
    tasks.spawn("admin", OnFailure::StopAll, http::serve(listener, routes, tasks.stop_token()));
    Ok(Some(address))
}
