//! A shuffle master, and a worker on a local disk or on one that keeps nothing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use penstock_common::{
    bytes::ByteSize,
    clock::SystemClock,
    lifecycle::Tasks,
    net::{Network, Tcp},
};
use penstock_shuffle_service::{
    disk::{Disk, Fault, FaultyDisk, LocalDisk, Operation, StoredFile},
    master,
    worker::{self, Fsync},
};
use serde_json::{Value, json};

use super::{Listen, Protection, WorkerSettings, WorkerStep, network::Cuttable, next, say};

/// How long a worker that is asked to leave may take to write everything down.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

pub fn run_master(protection: Protection) -> anyhow::Result<()> {
    let config = master::Config {
        control_listen: "127.0.0.1:0".to_owned(),
        admin_listen: String::new(),
        tls: protection.tls,
        cluster_secret_file: protection.cluster_secret_file,
        ..master::Config::default()
    };
    serve(nothing, async |tasks| {
        let master = master::start(config, Arc::new(Tcp), Arc::new(SystemClock), tasks).await?;
        Ok((json!({ "master": master.control.to_string() }), ()))
    })
}

pub fn run_worker(
    masters: Vec<String>,
    name: String,
    settings: WorkerSettings,
    listen: Option<Listen>,
) -> anyhow::Result<()> {
    let any = || Listen { control: "127.0.0.1:0".to_owned(), data: "127.0.0.1:0".to_owned() };
    let Listen { control, data } = listen.unwrap_or_else(any);
    let WorkerSettings { folder, memory_bytes, disk_writes, protection, short_circuit, .. } =
        settings.clone();
    let disk: Arc<dyn Disk> = match &folder {
        Some(_) => Arc::new(LocalDisk::new(disk_writes)),
        None => Arc::new(NoDisk),
    };
    // In the way only of those that are to meet them.
    let (full, cut) = (Arc::new(FaultyDisk::new(Arc::clone(&disk))), Cuttable::default());
    let disk = if settings.step == WorkerStep::FillDisk { Arc::clone(&full) as Arc<dyn Disk> } else { disk };
    let network: Arc<dyn Network> = match settings.step {
        WorkerStep::CutNetwork => Arc::new(cut.clone()),
        _ => Arc::new(Tcp),
    };
    let config = worker::Config {
        name,
        control_listen: control,
        data_listen: data,
        masters,
        data_dirs: vec![folder.unwrap_or_else(|| PathBuf::from("nowhere"))],
        admin_listen: String::new(),
        memory_bytes_max: ByteSize(memory_bytes),
        disk_reserve_bytes: ByteSize(0),
        disk_writes,
        tls: protection.tls,
        cluster_secret_file: protection.cluster_secret_file,
        short_circuit,
        keep_data: settings.keeps_data,
        fsync: if settings.syncs_commits { Fsync::Commit } else { Fsync::None },
        ..worker::Config::default()
    };
    let step = async |worker: &worker::Handle| {
        match settings.step {
            WorkerStep::Drain => worker.drain().await,
            WorkerStep::FillDisk => full.always("", Operation::Write, Fault::NoSpace),
            WorkerStep::CutNetwork => cut.cut(),
        }
        json!({ "calls_failed": full.injected() })
    };
    serve(step, async |tasks| {
        let storage = worker::Storage { disk, object_store: None };
        let worker = worker::start_on(config, network, Arc::new(SystemClock), storage, tasks).await?;
        worker.registered().await;
        let said = json!({ "control": worker.control.to_string(), "data": worker.data.to_string() });
        Ok((said, worker))
    })
}

/// Says what `start` found once it serves, takes steps, and stops in order when there is no next one.
fn serve<R>(
    step: impl AsyncFn(&R) -> Value,
    start: impl AsyncFnOnce(Tasks) -> anyhow::Result<(Value, R)>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let tasks = Tasks::new("bench");
    let (said, role) = runtime.block_on(start(tasks.clone()))?;
    say(&said)?;
    while next()? {
        say(&runtime.block_on(step(&role)))?;
    }
    Ok(runtime.block_on(tasks.stop(STOP_DEADLINE))?)
}

/// Masters take no steps.
async fn nothing((): &()) -> Value {
    json!({})
}

/// Takes everything at once and keeps nothing: what is measured is the way there.
#[derive(Debug)]
struct NoDisk;

#[async_trait]
impl Disk for NoDisk {
    async fn take_over(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn probe(&self, _directory: &Path, _content: Bytes) -> io::Result<()> {
        Ok(())
    }

    async fn write_at(&self, _file: &Path, _offset: u64, _pieces: Vec<Bytes>) -> io::Result<()> {
        Ok(())
    }

    async fn sync(&self, _file: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn replace(&self, _file: &Path, _content: Bytes, _durable: bool) -> io::Result<()> {
        Ok(())
    }

    async fn open(&self, _file: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Err(io::ErrorKind::NotFound.into())
    }

    async fn files(&self, _folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        Ok(Vec::new())
    }

    async fn remove_file(&self, _file: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn remove_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
