//! A whole cluster inside this process: the same roles and protocols as between machines, on loopback ports.
//!
//! In: how large. Out: the coordinator's address. Everything it writes, but the event log and what `--state` names,
//! lies in a temporary folder that goes with it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use penstock_common::{
    bytes::ByteSize,
    clock::SystemClock,
    lifecycle::{TaskFailure, Tasks},
    machine,
    net::Tcp,
};
use tempfile::TempDir;

use crate::{
    exit::Failed,
    roles::{self, Addresses, Role},
};

mod configs;

pub use configs::Options;

/// Enough to show that losing one costs little; the slots are shared between them.
pub const EXECUTORS: u32 = 2;
const SHUFFLE_WORKERS: u32 = 2;
const STOP_DEADLINE: Duration = Duration::from_secs(10);

pub struct Cluster {
    tasks: Tasks,
    /// Stop first: they say goodbye to a coordinator that still listens.
    executors: Tasks,
    rest: SocketAddr,
    history: Option<SocketAddr>,
    scratch: TempDir,
    _state: Option<Claim>,
}

impl Cluster {
    /// Returns when every role takes calls; stops what it started when one of them cannot.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let state = options.state.as_deref().map(Claim::of).transpose()?;
        fs::create_dir_all(&options.event_log)
            .with_context(|| format!("creating the folder of event logs {}", options.event_log.display()))?;
        let scratch = scratch_folder()?;
        let tasks = Tasks::new("penstock");
        let executors = tasks.child("executors");
        let started = start_roles(&options, scratch.path(), &tasks, &executors).await;
        match started {
            Ok((rest, history)) => Ok(Self { tasks, executors, rest, history, scratch, _state: state }),
            Err(cause) => {
                tasks.stop(STOP_DEADLINE).await.ok();
                Err(cause)
            }
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.rest)
    }

    pub fn history_url(&self) -> Option<String> {
        self.history.map(|addr| format!("http://{addr}"))
    }

    /// Resolves when a role cannot go on.
    pub async fn failed(&self) -> TaskFailure {
        self.tasks.failed().await
    }

    pub async fn stop(self) {
        self.executors.stop(STOP_DEADLINE).await.ok();
        if let Err(stragglers) = self.tasks.stop(STOP_DEADLINE).await {
            tracing::warn!(%stragglers, "the cluster did not stop in order");
        }
        if let Err(cause) = self.scratch.close() {
            tracing::warn!(%cause, "the temporary folder could not be removed");
        }
    }
}

pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
}

type Started = (SocketAddr, Option<SocketAddr>);

async fn start_roles(
    options: &Options,
    scratch: &Path,
    tasks: &Tasks,
    executors: &Tasks,
) -> anyhow::Result<Started> {
    let history = match options.history {
        Some(port) => Some(start_history(options, port, tasks).await?),
        None => None,
    };
    let master = start::<roles::ShuffleMaster>(configs::shuffle_master(), "shuffle-master", tasks).await?;
    let master = address(&master, "control")?;
    for number in 1..=SHUFFLE_WORKERS {
        let config = configs::shuffle_worker(number, master, scratch);
        start::<roles::ShuffleWorker>(config, &format!("shuffle-worker-{number}"), tasks).await?;
    }
    let config = configs::coordinator(options, master, history, scratch);
    let coordinator = start::<roles::Coordinator>(config, "coordinator", tasks).await?;
    let grpc = address(&coordinator, "grpc")?;
    for number in 1..=EXECUTORS {
        let config = configs::executor(options, number, grpc, scratch);
        start::<roles::Executor>(config, &format!("executor-{number}"), executors).await?;
    }
    Ok((address(&coordinator, "rest")?, history))
}

/// The wanted port if it is free, else any.
async fn start_history(options: &Options, port: u16, tasks: &Tasks) -> anyhow::Result<SocketAddr> {
    let wanted = configs::history_server(options, port);
    let addresses = match start::<roles::HistoryServer>(wanted, "history-server", tasks).await {
        Ok(addresses) => addresses,
        Err(_) if port != 0 => {
            start::<roles::HistoryServer>(configs::history_server(options, 0), "history-server", tasks)
                .await?
        }
        Err(cause) => return Err(cause),
    };
    address(&addresses, "http")
}

async fn start<R: Role>(config: R::Config, name: &str, tasks: &Tasks) -> anyhow::Result<Addresses> {
    R::start(config, Arc::new(Tcp), Arc::new(SystemClock), tasks.child(name))
        .await
        .map(|started| started.addresses)
        .map_err(roles::could_not_start::<R>)
}

fn address(addresses: &Addresses, what: &str) -> anyhow::Result<SocketAddr> {
    addresses.get(what).copied().with_context(|| format!("a role does not listen for {what}"))
}

/// Memory of one executor when nobody said: both together leave room for the rest of the machine.
pub fn default_executor_memory() -> ByteSize {
    const UNKNOWN: ByteSize = ByteSize::gib(2);
    let total = machine::memory().unwrap_or(UNKNOWN);
    ByteSize(total.0 / 2 / u64::from(EXECUTORS)).max(ByteSize::mib(128))
}

/// `penstock-<pid>-…` in the temporary folder. Folders of processes that were killed are removed on the way.
fn scratch_folder() -> anyhow::Result<TempDir> {
    let parent = std::env::temp_dir();
    remove_orphans(&parent);
    tempfile::Builder::new()
        .prefix(&format!("penstock-{}-", std::process::id()))
        .tempdir_in(&parent)
        .with_context(|| format!("creating a temporary folder in {}", parent.display()))
}

fn remove_orphans(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix("penstock-")?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// A state folder that only one process uses at a time.
struct Claim {
    _lock: File,
}

impl Claim {
    fn of(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)
            .map_err(|cause| Failed::usage(format!("--state {}: {cause}", folder.display())))?;
        let path: PathBuf = folder.join("lock");
        let lock = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        lock.try_lock().map_err(|_| {
            Failed::usage(format!("--state {} is used by another process", folder.display()))
                .advise("wait until that one is done, or use another folder")
        })?;
        Ok(Self { _lock: lock })
    }
}
