//! A shuffle master and a worker, on a local disk or on one that keeps nothing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use penstock_common::{
    bytes::ByteSize,
    clock::SystemClock,
    lifecycle::Tasks,
    net::{Network, Tcp, tls::TlsFiles},
};
use penstock_shuffle_service::{
    disk::{Disk, LocalDisk, StoredFile},
    master, worker,
};
use serde_json::json;

use super::{next, say};

pub fn run(
    folder: Option<PathBuf>,
    memory_bytes: u64,
    tls: &TlsFiles,
    short_circuit: bool,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let tasks = Tasks::new("bench");
    let master = runtime.block_on(start(folder, memory_bytes, tls, short_circuit, &tasks))?;
    say(&json!({ "master": master }))?;
    while next()? {}
    Ok(())
}

async fn start(
    folder: Option<PathBuf>,
    memory_bytes: u64,
    tls: &TlsFiles,
    short_circuit: bool,
    tasks: &Tasks,
) -> anyhow::Result<String> {
    let network: Arc<dyn Network> = Arc::new(Tcp);
    let config = master::Config {
        control_listen: "127.0.0.1:0".to_owned(),
        admin_listen: String::new(),
        tls: tls.clone(),
        ..master::Config::default()
    };
    let master = master::start(config, Arc::clone(&network), Arc::new(SystemClock), tasks.clone()).await?;
    let master = master.control.to_string();
    let disk: Arc<dyn Disk> = match &folder {
        Some(_) => Arc::new(LocalDisk::default()),
        None => Arc::new(NoDisk),
    };
    let config = worker::Config {
        masters: vec![master.clone()],
        data_dirs: vec![folder.unwrap_or_else(|| PathBuf::from("nowhere"))],
        admin_listen: String::new(),
        memory_bytes_max: ByteSize(memory_bytes),
        disk_reserve_bytes: ByteSize(0),
        tls: tls.clone(),
        short_circuit,
        keep_data: false,
        ..worker::Config::default()
    };
    let worker = worker::start_on(config, network, Arc::new(SystemClock), disk, tasks.clone()).await?;
    worker.registered().await;
    Ok(master)
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
