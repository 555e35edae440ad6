//! Starts an executor: each step named, each failure said with what it was about.

use std::{io, net::SocketAddr, sync::Arc};

use datafusion::{error::DataFusionError, execution::runtime_env::RuntimeEnv};
use penstock_common::{
    clock::Clock,
    http as serve_http,
    lifecycle::{OnFailure, Tasks},
    net::{
        Network,
        tls::{self, TlsError},
    },
    telemetry,
};
use penstock_engine::exchange::store::ShuffleStore;
use penstock_protocol::ids::{ExecutorId, Incarnation};
use penstock_shuffle_client::{ClientOptions, Reviver, ShuffleClient};
use tokio::{runtime::Handle as RuntimeHandle, sync::watch};
use tokio_util::sync::DropGuard;
use tracing::info;

use crate::{
    agent::{Agent, Identity},
    attempt::Attempts,
    config::{Config, InvalidConfig},
    epochs::Epochs,
    http,
    memory::Budget,
    runner::{EngineRunner, TaskRunner},
    runtime::CpuRuntime,
    sample::Sampler,
    scratch::{Scratch, ScratchError},
    shuffle_store::RemoteShuffle,
    stream::Connector,
    workload::Workload,
};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    #[error("dividing memory and spill space")]
    Memory(#[source] DataFusionError),
    #[error("starting {threads} threads for query work")]
    Threads {
        threads: usize,
        #[source]
        source: io::Error,
    },
    #[error("listening for http on {addr}")]
    Bind {
        addr: String,
        #[source]
        source: io::Error,
    },
}

/// Where an executor stands; shown by `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// No stream to the coordinator; it is tried again and again.
    Connecting,
    Connected,
    /// Takes nothing new.
    Draining,
    /// The coordinator will not have this executor.
    Refused,
    Left,
}

/// A running executor.
///
/// It drains and leaves when the tasks that it was started with stop, within `drain_seconds`; give
/// [`Tasks::stop`] a longer deadline than that.
#[derive(Debug, Clone)]
pub struct Handle {
    pub executor: ExecutorId,
    pub http: SocketAddr,
    status: watch::Receiver<Status>,
}

impl Handle {
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Waits until the executor is in the given state.
    pub async fn reached(&self, wanted: Status) {
        // The sender only goes away with an executor that was aborted; then nothing is reached any more.
        if self.status.clone().wait_for(|status| *status == wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What the simulation, tests and benchmarks replace.
#[derive(Debug, Default)]
pub struct Parts {
    /// Instead of the engine with its memory, threads, spill folder and shuffle client.
    pub runner: Option<Arc<dyn TaskRunner>>,
    /// Where such a runner works; the caller's runtime if absent.
    pub cpu: Option<CpuRuntime>,
    /// Instead of the shuffle client alone.
    pub store: Option<Arc<dyn ShuffleStore>>,
    /// Carries the questions of such a runner's shuffle client.
    pub epochs: Arc<Epochs>,
}

/// Starts an executor and returns at once; it connects, and connects again, by itself.
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
    // Counters of what happens before the first scrape would be lost without a recorder.
    telemetry::prometheus();
    let executor = executor_id(&config);
    let incarnation = Incarnation(u64::try_from(clock.now().as_millis()).unwrap_or(0));
    let budget = Budget::of(config.memory);
    // Not children of `tasks`: work goes on while the executor drains, and is stopped when it has left.
    let work = Tasks::new(format!("executor {executor}"));
    let machinery = match parts.runner {
        Some(runner) => {
            let cpu = parts.cpu.unwrap_or_else(CpuRuntime::shared);
            Machinery::scripted(Attempts { runner, cpu }, parts.epochs, work.clone())
        }
        None => {
            Machinery::engine(&config, &executor, incarnation, budget, parts.store, &network, work.clone())?
        }
    };
    let listener = network
        .bind(&config.http_addr)
        .await
        .map_err(|source| StartError::Bind { addr: config.http_addr.clone(), source })?;
    let http = listener
        .local_addr()
        .map_err(|source| StartError::Bind { addr: config.http_addr.clone(), source })?;

    let (status, watched) = watch::channel(Status::Connecting);
    let (workload, ended) = Workload::new(config.slots(), machinery.attempts.clone(), work);
    let agent = Agent {
        identity: Identity {
            executor: executor.clone(),
            incarnation,
            host: host_name(),
            memory_bytes: budget.limit,
        },
        connector: Connector::new(network, &config.coordinator_addr),
        workload,
        ended,
        epochs: Arc::clone(&machinery.epochs),
        sampler: Sampler::new(clock, machinery.env.clone(), budget.limit),
        status,
        drain_deadline: config.drain_deadline(),
        stop: tasks.stop_token(),
        drain: None,
    };
    info!(%executor, slots = config.slots(), coordinator = %config.coordinator_addr, %http, "executor starts");
    tasks.spawn(
        "http",
        OnFailure::Log,
        serve_http::serve(listener, http::router(watched.clone()), tasks.stop_token()),
    );
    tasks.spawn("agent", OnFailure::StopAll, async move {
        // Dropped with the agent, also when it is aborted: stops the work, removes the spill folder.
        let _machinery = machinery;
        agent.run().await
    });
    Ok(Handle { executor, http, status: watched })
}

/// What work needs, held until the executor has left.
struct Machinery {
    attempts: Attempts,
    env: Option<Arc<RuntimeEnv>>,
    epochs: Arc<Epochs>,
    _stop_work: DropGuard,
    _scratch: Option<Scratch>,
}

impl Machinery {
    fn scripted(attempts: Attempts, epochs: Arc<Epochs>, work: Tasks) -> Self {
        let stop_work = work.stop_token().drop_guard();
        Self { attempts, env: None, epochs, _stop_work: stop_work, _scratch: None }
    }

    fn engine(
        config: &Config,
        executor: &ExecutorId,
        incarnation: Incarnation,
        budget: Budget,
        store: Option<Arc<dyn ShuffleStore>>,
        network: &Arc<dyn Network>,
        work: Tasks,
    ) -> Result<Self, StartError> {
        let scratch = Scratch::open(&config.scratch_dir, executor, incarnation, config.scratch_quota)?;
        let env = budget.runtime_env(&scratch).map_err(StartError::Memory)?;
        let threads = config.cpu_threads();
        let cpu = CpuRuntime::dedicated(threads).map_err(|source| StartError::Threads { threads, source })?;
        let stop_work = work.stop_token().drop_guard();
        let epochs = Arc::new(Epochs::default());
        let store = match store {
            Some(store) => store,
            None => remote_shuffle(config, budget, &epochs, network, work)?,
        };
        let runner = Arc::new(EngineRunner::new(Arc::clone(&env), store, scratch.dir().to_path_buf()));
        let attempts = Attempts { runner, cpu };
        Ok(Self { attempts, env: Some(env), epochs, _stop_work: stop_work, _scratch: Some(scratch) })
    }
}

fn remote_shuffle(
    config: &Config,
    budget: Budget,
    epochs: &Arc<Epochs>,
    network: &Arc<dyn Network>,
    work: Tasks,
) -> Result<Arc<dyn ShuffleStore>, TlsError> {
    let network = tls::wrap(Arc::clone(network), &config.shuffle_tls, &work)?;
    let reviver = Arc::clone(epochs) as Arc<dyn Reviver>;
    let options = ClientOptions {
        silence_ms: config.shuffle_silence_ms,
        absence_ms: config.shuffle_absence_ms,
        ..budget.client_options()
    };
    let client = ShuffleClient::with_reviver(network, options, reviver, work);
    Ok(Arc::new(RemoteShuffle::new(client, RuntimeHandle::current())))
}

fn executor_id(config: &Config) -> ExecutorId {
    match config.name.as_str() {
        "" => ExecutorId::new(format!("{}-{}", host_name(), std::process::id())),
        name => ExecutorId::from(name),
    }
}

fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.replace('/', "-"),
    }
}
