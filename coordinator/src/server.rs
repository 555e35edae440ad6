//! Starts a coordinator: each step named, each failure said with what to do about it.

mod recovery;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use penstock_common::{
    clock::{Clock, Timestamp},
    grpc, http,
    lifecycle::{OnFailure, Tasks},
    net::{
        Listener, Network,
        tls::{self, TlsError},
    },
};
use penstock_engine::session::runtime_env;
use penstock_protocol::{
    pb::executor_api_server::ExecutorApiServer,
    token::{ClusterSecret, SecretError},
};
use penstock_shuffle_client::{ClientOptions, ShuffleClient, owner::Owner};

use crate::{
    api::{self, Api, JobIds},
    catalog::{Tables, TablesError},
    cluster_log,
    config::{Config, InvalidConfig},
    coordinator::Coordinator,
    effects::{Effects, Jobs},
    event_log::{self, EventLog, Recorder},
    event_loop::{EventLoop, event_loop},
    grpc::{executor_api::ExecutorService, executors::Executors},
    planning::{EnginePlanner, Planner},
    publish::{PublishError, Publisher},
    replies::Replies,
    results::Results,
    shuffles::{RemoteShuffles, ShuffleOwner, ShuffleReader, Shuffles},
    status_board::StatusBoard,
    store::{JobStore, StoreError, sqlite::SqliteStore},
};

/// How often the shuffles of active jobs and kept results are renewed.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at which shuffle workers are about to leave.
const WORKERS_EVERY: Duration = Duration::from_secs(1);

/// How often records of old jobs are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// A running coordinator. It stops with the tasks that it was started with.
#[derive(Debug, Clone)]
pub struct Handle {
    pub rest: SocketAddr,
    pub grpc: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error("creating the state folder {}", path.display())]
    StateDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("opening the job store in {}", path.display())]
    Store {
        path: PathBuf,
        #[source]
        source: StoreError,
    },
    #[error("ending what a former life left behind")]
    Recovery(#[source] StoreError),
    #[error("finishing a publication that a former life began")]
    Publications(#[from] PublishError),
    #[error("reading the catalog")]
    Catalog(#[from] TablesError),
    #[error(transparent)]
    EventLog(#[from] event_log::OpenError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("preparing the planner")]
    Planner(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the warehouse `{folder}` cannot be a URL")]
    Warehouse { folder: String },
    #[error("listening for {what} on {addr}")]
    Bind {
        what: &'static str,
        addr: String,
        #[source]
        source: io::Error,
    },
}

/// What the simulation and benchmarks replace.
#[derive(Debug, Default)]
pub struct Parts {
    /// Instead of the engine.
    pub planner: Option<Arc<dyn Planner>>,
    /// Instead of SQLite in the state folder.
    pub store: Option<Arc<dyn JobStore>>,
    /// Instead of a spool and a store of files: takes the records as they come.
    pub event_log: Option<Arc<dyn Recorder>>,
    /// Instead of the shuffle service.
    pub shuffles: Option<Arc<dyn Shuffles>>,
    /// Makes the ids of jobs repeatable.
    pub ids_seed: Option<u64>,
}

/// Starts a coordinator and returns once it takes calls.
pub async fn start(
    config: Config,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
) -> Result<Handle, StartError> {
    start_with(config, network, clock, tasks, Parts::default()).await
}

/// As [`start`], with some parts replaced.
pub async fn start_with(
    config: Config,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    parts: Parts,
) -> Result<Handle, StartError> {
    config.validate()?;
    create_state_dir(&config.state_dir)?;
    let rest = bind(&network, "rest", &config.rest_addr).await?;
    let executors_and_flight = bind(&network, "grpc", &config.grpc_addr).await?;
    let store = match parts.store {
        Some(store) => store,
        None => open_store(&config.state_dir).await?,
    };
    // Records that are kept nowhere have no log of the cluster beside them.
    let is_recorded = parts.event_log.is_some();
    let event_log = match parts.event_log {
        Some(recorder) => EventLog::recorded_by(recorder, &tasks)?,
        None => EventLog::open(&config.event_log_root(), config.state_dir.join("event-spool"), &tasks)?,
    };
    let cluster_log = (!is_recorded).then(|| event_log.store());
    let tables = Arc::new(Tables::load(Arc::clone(&store)).await?);
    let publisher = Publisher::new(&config.state_dir);
    let ended = recovery::finish_former_life(&store, &tables, &publisher, &event_log, clock.now()).await?;
    let planner = match parts.planner {
        Some(planner) => planner,
        None => engine_planner(&config, &tasks)?,
    };
    let secret = ClusterSecret::load(&config.cluster_secret_file)?;
    let shuffles = match parts.shuffles {
        Some(shuffles) => shuffles,
        None => remote_shuffles(&config, network, secret.clone(), clock.now(), &tasks)?,
    };
    recovery::clean_up(ended, &publisher, &shuffles, &tasks).await?;
    let handle = Handle { rest: addr(rest.as_ref()), grpc: addr(executors_and_flight.as_ref()) };
    let core = Coordinator::new(config.core_options());
    let (inbox, event_loop) = event_loop(core, Arc::clone(&clock));
    let results =
        Results::new(Arc::clone(&shuffles) as Arc<dyn ShuffleReader>, config.inline_results_bytes_max);
    let effects = Arc::new(Effects {
        store,
        tables,
        planner,
        shuffles: Arc::clone(&shuffles) as Arc<dyn ShuffleOwner>,
        results: Arc::new(results),
        publisher,
        event_log,
        executors: Arc::new(Executors::new(secret)),
        board: Arc::new(StatusBoard::default()),
        replies: Arc::new(Replies::default()),
        inbox,
        tasks: tasks.child("effects"),
        settings: config.settings.clone(),
        jobs: Jobs::default(),
        with_shuffles: std::sync::Mutex::default(),
    });
    run_loop(event_loop, &effects, &tasks);
    keep_shuffles_alive(&effects, &tasks);
    watch_workers(&effects, &tasks);
    if let Some(store) = cluster_log {
        watch_cluster(shuffles, store, Arc::clone(&clock), &tasks);
    }
    prune_records(&effects, config.job_records_ttl(), Arc::clone(&clock), &tasks);
    let ids = parts.ids_seed.map_or_else(JobIds::default, JobIds::with_seed);
    let api = Api::new(Arc::clone(&effects), &config, &handle, clock, ids);
    serve_grpc(executors_and_flight, &api, &config, &tasks);
    serve_rest(rest, api, &tasks);
    tracing::info!(rest = %handle.rest, grpc = %handle.grpc, "coordinator is ready");
    Ok(handle)
}

fn create_state_dir(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|source| StartError::StateDir { path: path.to_path_buf(), source })
}

async fn open_store(state_dir: &Path) -> Result<Arc<dyn JobStore>, StartError> {
    let path = state_dir.join("jobs.sqlite");
    match SqliteStore::open(&path).await {
        Ok(store) => Ok(Arc::new(store)),
        Err(source) => Err(StartError::Store { path, source }),
    }
}

async fn bind(
    network: &Arc<dyn Network>,
    what: &'static str,
    addr: &str,
) -> Result<Box<dyn Listener>, StartError> {
    let bound = network.bind(addr).await;
    bound.map_err(|source| StartError::Bind { what, addr: addr.to_owned(), source })
}

/// A listener that is bound has an address; the unspecified one stands in if the system will not tell.
fn addr(listener: &dyn Listener) -> SocketAddr {
    listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}

fn engine_planner(config: &Config, tasks: &Tasks) -> Result<Arc<dyn Planner>, StartError> {
    let spill = config.state_dir.join("planning-spill");
    std::fs::create_dir_all(&spill).map_err(|source| StartError::StateDir { path: spill.clone(), source })?;
    let env = runtime_env(Some(config.planning_memory_bytes), Some(&spill), config.planning_memory_bytes)
        .map_err(|error| StartError::Planner(error.into()))?;
    let warehouse = folder_url(&config.warehouse_root())?;
    Ok(Arc::new(EnginePlanner::new(env, warehouse, config.planning_threads, tasks.stop_token())))
}

/// A folder's URL, which ends in `/`; what is a URL already stays one.
fn folder_url(folder: &str) -> Result<String, StartError> {
    if folder.contains("://") {
        let slash = if folder.ends_with('/') { "" } else { "/" };
        return Ok(format!("{folder}{slash}"));
    }
    let refused = || StartError::Warehouse { folder: folder.to_owned() };
    let absolute = std::path::absolute(folder).map_err(|_| refused())?;
    url::Url::from_directory_path(absolute).map(String::from).map_err(|()| refused())
}

fn remote_shuffles(
    config: &Config,
    network: Arc<dyn Network>,
    secret: Option<ClusterSecret>,
    now: Timestamp,
    tasks: &Tasks,
) -> Result<Arc<dyn Shuffles>, StartError> {
    let network = tls::wrap(network, &config.shuffle_tls, tasks)?;
    let silence = Duration::from_millis(config.shuffle_silence_ms);
    let owner = Owner::new(Arc::clone(&network), config.shuffle_masters.clone())
        .with_copies(config.shuffle_copies)
        .with_silence(silence)
        .with_patience(Duration::from_secs(config.shuffle_wait_seconds))
        .with_placements_from(first_placement(now))
        .with_secret(secret.as_ref());
    let (silence_ms, absence_ms) = (config.shuffle_silence_ms, config.shuffle_absence_ms);
    let options = ClientOptions { silence_ms, absence_ms, ..ClientOptions::default() };
    let client = ShuffleClient::new(network, options, tasks.clone()).with_secret(secret);
    Ok(Arc::new(RemoteShuffles::new(owner, client)))
}

/// Beyond all placements of a former life, which made fewer than 65,536 in each millisecond. Under a clock that was set back, what
/// that life reserved and did not journal may keep its own second copies: their stage runs again.
fn first_placement(now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0) << 16
}

fn run_loop(event_loop: EventLoop, effects: &Arc<Effects>, tasks: &Tasks) {
    let run = event_loop.run(Arc::clone(effects), tasks.stop_token());
    tasks.spawn("event-loop", OnFailure::StopAll, run);
}

fn watch_cluster(
    shuffles: Arc<dyn Shuffles>,
    store: opendal::Operator,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) {
    let watch = cluster_log::Watch { workers: shuffles, store, clock };
    tasks.spawn("cluster-log", OnFailure::Log, watch.run(tasks.stop_token()));
}

fn keep_shuffles_alive(effects: &Arc<Effects>, tasks: &Tasks) {
    let (effects, stop) = (Arc::clone(effects), tasks.stop_token());
    tasks.spawn("shuffle-keep-alive", OnFailure::Log, async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok::<(), Infallible>(()),
                () = tokio::time::sleep(KEEP_ALIVE_EVERY) => effects.keep_alive().await,
            }
        }
    });
}

/// Tells the core of shuffle workers that are about to leave.
fn watch_workers(effects: &Arc<Effects>, tasks: &Tasks) {
    let (effects, stop) = (Arc::clone(effects), tasks.stop_token());
    tasks.spawn("shuffle-workers", OnFailure::Log, async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok::<(), Infallible>(()),
                () = tokio::time::sleep(WORKERS_EVERY) => effects.look_for_leaving().await,
            }
        }
    });
}

/// Deletes records of jobs that ended long ago, now and then.
fn prune_records(effects: &Arc<Effects>, ttl: Duration, clock: Arc<dyn Clock>, tasks: &Tasks) {
    let (store, stop) = (Arc::clone(&effects.store), tasks.stop_token());
    tasks.spawn("prune-records", OnFailure::Log, async move {
        loop {
            let ended_before = Timestamp::from_millis(clock.now().as_millis() - millis(ttl));
            match store.prune(ended_before).await {
                Ok(0) => {}
                Ok(jobs) => tracing::info!(jobs, "records of old jobs deleted"),
                Err(error) => tracing::warn!(%error, "records of old jobs cannot be deleted"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok::<(), Infallible>(()),
                () = tokio::time::sleep(PRUNE_EVERY) => {}
            }
        }
    });
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn serve_grpc(listener: Box<dyn Listener>, api: &Api, config: &Config, tasks: &Tasks) {
    let executors = ExecutorService {
        inbox: api.effects().inbox.clone(),
        executors: Arc::clone(&api.effects().executors),
        heartbeat_interval_ms: config.heartbeat_interval_ms,
        tasks: tasks.child("executors"),
    };
    let executors = ExecutorApiServer::new(executors)
        .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX);
    let routes = tonic::service::Routes::new(executors).add_service(api::flight::service(api.clone()));
    tasks.spawn("grpc", OnFailure::StopAll, grpc::serve(listener, routes, tasks.stop_token()));
}

fn serve_rest(listener: Box<dyn Listener>, api: Api, tasks: &Tasks) {
    let router = api::rest::router(api);
    tasks.spawn("rest", OnFailure::StopAll, http::serve(listener, router, tasks.stop_token()));
}
