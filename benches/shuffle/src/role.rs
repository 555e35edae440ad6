//! What one process of a measurement does.

mod client;
mod network;
mod plain;
mod service;

use std::{
    io::{BufRead, Write},
    path::PathBuf,
};

use penstock_common::{
    net::tls::TlsFiles,
    telemetry::{self, LogFormat},
};
use penstock_shuffle_service::disk::Writes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The arguments of a role.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Role {
    /// Reads whatever connections bring, in buffers of `block` bytes.
    TcpSink { block: usize },
    /// Sends `bytes` over one connection, `block` bytes per call, and waits until they are read.
    TcpSource { addr: String, block: usize, bytes: u64 },
    /// Writes a file and syncs it.
    FileWriter { folder: PathBuf, block: usize, bytes: u64 },
    /// Sends a file in the page cache with `sendfile` to whoever connects.
    FileServer { folder: PathBuf, block: usize, bytes: u64 },
    /// Connects and reads to the end.
    TcpReader { addr: String, block: usize },
    /// A shuffle master.
    Master { protection: Protection },
    /// A shuffle worker of these masters, where it was before or anywhere.
    Worker { masters: Vec<String>, name: String, settings: WorkerSettings, listen: Option<Listen> },
    /// Pushes, fetches, exchanges; keeps everything on `copies` workers.
    Client { masters: Vec<String>, protection: Protection, copies: u32, work: Work },
}

/// What keeps others out; by default nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Protection {
    pub tls: TlsFiles,
    /// Switches tokens on.
    pub cluster_secret_file: PathBuf,
}

/// Where a worker is known.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listen {
    pub control: String,
    pub data: String,
}

/// What scenarios want of their workers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WorkerSettings {
    /// Without, it has a disk that takes everything at once and keeps nothing.
    pub folder: Option<PathBuf>,
    pub memory_bytes: u64,
    pub disk_writes: Writes,
    pub protection: Protection,
    /// Whether clients reach it past the network.
    pub short_circuit: bool,
    /// Whether a restart goes on with what was committed.
    pub keeps_data: bool,
    /// Whether data is synced before a commit is answered.
    pub syncs_commits: bool,
    /// What its step is.
    pub step: WorkerStep,
}

/// What happens to a worker when the run says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WorkerStep {
    /// It takes nothing more and waits until a stop loses nothing.
    #[default]
    Drain,
    /// Its disk is full from now on.
    FillDisk,
    /// Nothing goes over its network any more, and no connection ends.
    CutNetwork,
}

/// What a client does.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Work {
    /// Each step pushes `bytes` and releases what the former one pushed.
    Push { block: usize, bytes: u64, partitions: u32 },
    /// The first step pushes one partition, every further one reads it.
    Fetch { block: usize, bytes: u64 },
    /// Reserves and pushes one batch into each.
    OpenPartitions { partitions: u32, block: usize },
    /// Whole exchanges, one after the other, and the same batches handed over in memory.
    Exchanges { rounds: u32, partitions: u32, block: usize },
    /// Pushes, commits and reads; says when it has pushed half of it, and pushes more until it is told that all is over.
    PushThrough { block: usize, bytes: u64, partitions: u32 },
    /// The first step pushes and commits; every further one reads all partitions at once and says when it has read half.
    ReadThrough { block: usize, bytes: u64, partitions: u32 },
    /// Whole exchanges, one after the other; says when it has made half of them, and makes more until it is told that all is
    /// over. What the first one left is read once more at the end.
    ExchangeThrough { rounds: u32, partitions: u32, block: usize },
}

pub fn run(role: Role) -> anyhow::Result<()> {
    // `PENSTOCK_LOG` shows what the roles do.
    telemetry::init(LogFormat::Text, "off");
    match role {
        Role::TcpSink { block } => plain::sink(block),
        Role::TcpSource { addr, block, bytes } => plain::source(&addr, block, bytes),
        Role::FileWriter { folder, block, bytes } => plain::write_file(&folder, block, bytes),
        Role::FileServer { folder, block, bytes } => plain::serve_file(&folder, block, bytes),
        Role::TcpReader { addr, block } => plain::read(&addr, block),
        Role::Master { protection } => service::run_master(protection),
        Role::Worker { masters, name, settings, listen } => {
            service::run_worker(masters, name, settings, listen)
        }
        Role::Client { masters, protection, copies, work } => client::run(masters, &protection, copies, work),
    }
}

/// Tells the run that this role is ready or has done its step.
fn say(value: &Value) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{value}")?;
    Ok(output.flush()?)
}

/// Waits for the next step; false when there is none.
fn next() -> anyhow::Result<bool> {
    let mut line = String::new();
    Ok(std::io::stdin().lock().read_line(&mut line)? > 0)
}

/// Bytes that do not compress and differ between blocks of different sizes.
pub fn block_of(bytes: usize) -> Vec<u8> {
    let mut state = bytes as u64 | 1;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| byte()).collect()
}
