//! The worker role: boot, in named steps.
//!
//! A worker keeps nothing from one life to the next: at start it takes a new incarnation and empties its folders, and
//! whatever means a former life is refused (invariant 16).

mod admin;
mod config;
mod connection;
mod control;
mod fetch;
mod flush;
mod heartbeat;
mod jobs;
mod location;
mod memory;
mod orders;
mod pace;
mod push;
mod site;
mod standing;
mod store;
mod usage;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use penstock_common::{
    clock::Clock,
    grpc, http,
    lifecycle::{OnFailure, Tasks},
    net::{Listener, Network},
    telemetry,
};
use penstock_protocol::{
    ids::{Incarnation, WorkerId},
    pb::shuffle_worker_server::ShuffleWorkerServer,
    shuffle::WorkerAddress,
};
use tokio::sync::watch;
use tonic::service::Routes;

pub use self::config::{Config, InvalidConfig};
use self::{
    control::Control,
    flush::Flusher,
    heartbeat::{Heartbeat, Reporter},
    memory::Budget,
    orders::Orders,
    site::Site,
    store::Store,
};
use crate::disk::{Disk, LocalDisk};

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error(transparent)]
    Bind(io::Error),
    #[error("the data folder {folder} cannot be used")]
    Folder { folder: PathBuf, source: io::Error },
}

/// A running worker. It runs until the `tasks` that it was started with stop.
#[derive(Debug, Clone)]
pub struct Handle {
    pub address: WorkerAddress,
    pub control: SocketAddr,
    pub data: SocketAddr,
    pub admin: Option<SocketAddr>,
    registered: watch::Receiver<bool>,
}

impl Handle {
    /// Returns once a master knows this worker.
    pub async fn registered(&self) {
        // An error says that the worker has stopped: then nobody has to wait for it.
        let _ = self.registered.clone().wait_for(|registered| *registered).await;
    }
}

/// Starts a worker on local disks.
pub async fn start(
    config: Config,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
) -> Result<Handle, StartError> {
    start_on(config, network, clock, Arc::new(LocalDisk::default()), tasks).await
}

/// Starts a worker on any disk.
pub async fn start_on(
    config: Config,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    tasks: Tasks,
) -> Result<Handle, StartError> {
    config.validate()?;
    let control = network.bind(&config.control_listen).await.map_err(StartError::Bind)?;
    let data = network.bind(&config.data_listen).await.map_err(StartError::Bind)?;
    let address =
        address(&config, control.as_ref(), data.as_ref(), clock.as_ref()).map_err(StartError::Bind)?;
    let tasks = tasks.child(format!("shuffle-worker {}", address.worker));
    let folders = take_over_folders(&config, &address.worker, disk.as_ref()).await?;
    let store = Arc::new(Store::new(
        address.worker.clone(),
        address.incarnation,
        Budget::new(&config),
        disk,
        folders,
        config.locations_max,
    ));
    let (registered, watch_registered) = watch::channel(false);
    let admin = serve_admin(&config, network.as_ref(), &store, clock, &tasks).await?;
    let handle = Handle {
        control: control.local_addr().map_err(StartError::Bind)?,
        data: data.local_addr().map_err(StartError::Bind)?,
        admin,
        address: address.clone(),
        registered: watch_registered,
    };
    serve_control(&config, control, &store, &tasks);
    let connections = connection::accept(data, Arc::clone(&store), config.connections_max, tasks.clone());
    tasks.spawn("data-plane", OnFailure::StopAll, connections);
    let flusher = Flusher {
        store: Arc::clone(&store),
        parallelism: config.flush_parallelism,
        reserve_bytes: config.disk_reserve_bytes.as_u64(),
    };
    tasks.spawn("flusher", OnFailure::StopAll, flusher.run(tasks.stop_token()));
    let reporter = Reporter {
        store,
        admin: admin.map(|admin| reach(&config, admin)).unwrap_or_default(),
        site: Site::new(&config, &address.data),
        address: address.clone(),
        orders: Mutex::new(Orders::new(config.masters.len())),
        registered,
    };
    report(&config, reporter, &network, &tasks);
    tracing::info!(worker = %address.worker, incarnation = %address.incarnation, data = %address.data, "shuffle worker started");
    Ok(handle)
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

fn address(
    config: &Config,
    control: &dyn Listener,
    data: &dyn Listener,
    clock: &dyn Clock,
) -> io::Result<WorkerAddress> {
    let (control, data) = (control.local_addr()?, data.local_addr()?);
    let name = if config.name.is_empty() { format!("worker-{}", data.port()) } else { config.name.clone() };
    // Later than every former life of this name, unless the clock steps back; never equal unless it does so exactly.
    let incarnation = Incarnation(u64::try_from(clock.now().as_millis()).unwrap_or(0));
    Ok(WorkerAddress {
        worker: WorkerId::new(name),
        incarnation,
        control: reach(config, control),
        data: reach(config, data),
    })
}

/// Where others reach what listens on `address`.
fn reach(config: &Config, address: SocketAddr) -> String {
    match config.advertise_host.as_str() {
        "" => address.to_string(),
        host => format!("{host}:{}", address.port()),
    }
}

async fn take_over_folders(
    config: &Config,
    worker: &WorkerId,
    disk: &dyn Disk,
) -> Result<Vec<PathBuf>, StartError> {
    let mut folders = Vec::new();
    for data_dir in &config.data_dirs {
        let folder = data_dir.join(worker.as_str());
        let taken = disk.take_over(&folder).await;
        taken.map_err(|source| StartError::Folder { folder: folder.clone(), source })?;
        folders.push(folder);
    }
    Ok(folders)
}

fn serve_control(config: &Config, listener: Box<dyn Listener>, store: &Arc<Store>, tasks: &Tasks) {
    let commit_patience = Duration::from_millis(config.commit_timeout_ms);
    let server = ShuffleWorkerServer::new(Control { store: Arc::clone(store), commit_patience })
        .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX);
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
