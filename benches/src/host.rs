//! A coordinator and two executors in one process, in which the way of an exchange is all that can differ.
//!
//! What the shuffle service costs is the difference between two clusters that differ in nothing else. So both sides of the
//! comparison are this host: the same program, one process with the same coordinator, plans, stages, tasks, slots, threads,
//! memory limits and allocator, started by the same code of coordinator and executor. Three things can stand in their place
//! for the shuffle:
//!
//! - [`Exchanges::Batches`]: a map in the same process that keeps record batches as they are. A writer still spreads its
//!   rows over the partitions; nothing is encoded, checksummed, copied or sent. No shuffle can be faster.
//! - [`Exchanges::Payloads`]: the same map, but of encoded batches, which are decoded when they are read: what crossing a
//!   border of processes costs before a single byte has crossed it.
//! - [`Exchanges::Service`]: a shuffle master and two shuffle workers as processes of their own, with the defaults
//!   of `penstock`, on the same machine. Their CPU time is taken from the same processors, as little as that
//!   favours them.
//!
//! Not in one process with the bench: so each side's CPU seconds are its own, and neither sees what the other has left in
//! allocator and caches.

mod child;
mod in_memory;
mod roles;

use std::{iter, path::PathBuf};

use anyhow::Context;
use clap::Parser;
use penstock_cli::{
    args::Cli,
    embedded::{EXECUTORS, processors},
};
use penstock_common::bytes::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;

use self::child::Child;
pub use self::child::program;
use crate::engines::Sizes;

const SHUFFLE_WORKERS: u32 = 2;

/// The way of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exchanges {
    Batches,
    Payloads,
    Service,
}

/// What the process of a host is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    exchanges: Exchanges,
    folder: PathBuf,
    slots_per_executor: u32,
    memory: ByteSize,
    codec: Option<String>,
    /// Of `Service`.
    master: Option<String>,
}

/// A host and what belongs to it; gone when dropped.
pub struct Host {
    pub url: String,
    /// In the order of their start.
    children: Vec<Child>,
    /// Removed after the processes that use it are gone.
    _folder: TempDir,
}

impl Host {
    pub fn up(exchanges: Exchanges, sizes: &Sizes) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("penstock-bench-").tempdir()?;
        let mut children = Vec::new();
        let master = match exchanges {
            Exchanges::Service => Some(start_service(&mut children, &folder, sizes)?),
            Exchanges::Batches | Exchanges::Payloads => None,
        };
        let settings = Settings {
            exchanges,
            folder: folder.path().to_owned(),
            slots_per_executor: (processors() / EXECUTORS).max(1),
            memory: sizes.executor_memory(),
            codec: sizes.codec.clone(),
            master,
        };
        let host = Child::host(&settings)?;
        let url = host.says("url")?;
        children.push(host);
        Ok(Self { url, children, _folder: folder })
    }

    pub fn process_ids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Who was started last goes first.
        while self.children.pop().is_some() {}
    }
}

/// Gives the master's address.
fn start_service(children: &mut Vec<Child>, folder: &TempDir, sizes: &Sizes) -> anyhow::Result<String> {
    let any_port = "127.0.0.1:0".to_owned();
    let flags = [("control-listen", any_port.clone()), ("admin-listen", any_port)];
    let master = Child::role("shuffle-master", "master", folder.path(), &flags)?;
    let address = master.says("control")?;
    children.push(master);
    for number in 1..=SHUFFLE_WORKERS {
        let name = format!("worker-{number}");
        let mut flags = vec![
            ("name", name.clone()),
            ("masters", address.clone()),
            ("data-dirs", folder.path().join("shuffle").display().to_string()),
        ];
        flags.extend(sizes.shuffle_memory.map(|memory| ("memory-bytes-max", memory.0.to_string())));
        children.push(Child::role("shuffle-worker", &name, folder.path(), &flags)?);
    }
    Ok(address)
}

/// The process of a host: runs until its input ends.
pub fn run(settings: &str) -> anyhow::Result<()> {
    let settings: Settings = serde_json::from_str(settings).context("reading the settings of a host")?;
    penstock_common::telemetry::init(Default::default(), "warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let url = runtime.block_on(roles::start(&settings))?;
    child::say(&json!({ "url": url }))?;
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}

/// The process of a role: does what `penstock` does with these arguments.
pub fn run_role(arguments: &[String]) -> anyhow::Result<()> {
    let cli = Cli::parse_from(iter::once("penstock").chain(arguments.iter().map(String::as_str)));
    penstock_common::telemetry::init(Default::default(), "warn");
    penstock_cli::run(cli).map(|_| ())
}
