//! The worker role: boot, in named steps.
//!
//! At start a worker takes a new incarnation. It serves what its former lives committed and could keep, under their
//! incarnations; whatever else means a former life is refused (invariant 16).

mod admin;
mod boot;
mod carried;
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
mod unwanted;
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
    lifecycle::{OnFailure, Tasks},
    net::{
        Network,
        tls::{self, TlsError},
    },
    telemetry,
};
use penstock_protocol::{
    credentials::Credentials,
    shuffle::WorkerAddress,
    token::{ClusterSecret, SecretError},
};
use tokio::sync::watch;

pub use self::config::{Config, DiskClass, DiskConfig, EvictFirst, Fsync, InvalidConfig, Tier};
pub(crate) use self::disks::{DiskReport, DiskState};
pub use self::storage::Storage;
use self::{
    boot::{address, name, next_life, reach, report, serve_admin, serve_control, watch_disks},
    connection::Connections,
    control::Control,
    disks::Disks,
    durable::Recorder,
    evict::Evictor,
    flush::Flusher,
    forgotten::{NamedObjects, Sweeper},
    guard::Guard,
    heartbeat::Reporter,
    link::Links,
    memory::Budget,
    objects::Objects,
    orders::Orders,
    recovery::recover,
    settings::Settings,
    store::Store,
    unwanted::Remover,
};
use crate::{disk::LocalDisk, order_guard};

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
    let recovery = recover(&disks, config.keep_data).await;
    let life = next_life(clock.as_ref(), &recovery);
    let timeout = Duration::from_millis(config.object_store_timeout_ms);
    let objects = object_store.map(|store| Objects::new(store, timeout, &worker, life));
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
    // Of what is not to be kept nothing is wanted, whoever names it.
    let are_all_named = recovery.is_all_seen || !config.keep_data;
    let (named, is_all_seen) = (NamedObjects::new(&recovery.locations, are_all_named), recovery.is_all_seen);
    store.adopt(recovery);
    let store = Arc::new(store.guarded(Guard::new(secret.clone())));
    let (memory_bytes, silence) = (store.budget.bytes_max(), Duration::from_millis(config.silence_ms));
    let links = Links::new(Arc::clone(&network), secret.clone(), memory_bytes, silence, tasks.clone());
    watch_disks(&store, &tasks).await;
    let (registered, watch_registered) = watch::channel(false);
    let routes = admin::routes(Arc::clone(&store), Arc::clone(&clock));
    let routes = order_guard::guarded(routes, secret.clone());
    let admin = serve_admin(&config, admin_network.as_ref(), routes, &tasks).await?;
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
        tend_objects(&store, objects, &tasks);
    }
    let sweeper = Sweeper { store: Arc::clone(&store), named, is_all_seen };
    tasks.spawn("sweeper", OnFailure::Log, sweeper.run(tasks.stop_token()));
    let recorder = Recorder { store: Arc::clone(&store), interval: RECORD_INTERVAL };
    tasks.spawn("recorder", OnFailure::StopAll, recorder.run(tasks.stop_token()));
    let reporter = Reporter {
        store,
        admin: admin.map(|admin| reach(&config, admin)).unwrap_or_default(),
        address: address.clone(),
        orders: Mutex::new(Orders::new(config.masters.len())),
        carried: Mutex::default(),
        registered,
        credentials,
    };
    report(&config, reporter, &network, &tasks);
    let memory = ByteSize(config.memory_bytes());
    tracing::info!(worker = %address.worker, incarnation = %address.incarnation, data = %address.data, %memory, "shuffle worker started");
    Ok(handle)
}

/// Fills the object store from disks that run full, and deletes what nobody wants there.
fn tend_objects(store: &Arc<Store>, objects: Objects, tasks: &Tasks) {
    let remover = Remover { objects: objects.clone() };
    tasks.spawn("remover", OnFailure::StopAll, remover.run(tasks.stop_token()));
    for disk in 0..store.disks.volumes.len() {
        let evictor = Evictor::new(Arc::clone(store), objects.clone(), disk);
        tasks.spawn("evictor", OnFailure::StopAll, evictor.run(tasks.stop_token()));
    }
}
