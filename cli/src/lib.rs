//! `penstock`: starts each role, all of them in one process, and talks to a cluster.
//!
//! Reading order: `args` says what can be asked for, `commands` has one file for each, `embedded` is a whole cluster in
//! this process, `client` speaks REST, `output` writes results, `exit` is how it ends. A library, so that benchmarks
//! start the same cluster and speak to it in the same way.

pub mod args;
mod commands;

pub mod client;
pub mod embedded;
pub mod job;
pub mod paths;
pub mod roles;
pub mod tpch;

pub mod output;
pub mod progress;

pub mod exit;

use args::Cli;
use exit::Exit;

/// A disk that hangs keeps a thread for each call on it, of which a shuffle worker has up to 32 for each process that reads. The
/// other disks need threads as well; tokio's own limit is 512.
const BLOCKING_THREADS_MAX: usize = 4096;

/// Does what the command line asks for, on a runtime of its own.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("penstock")
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()?;
    let exit = runtime.block_on(commands::run(cli));
    // Whatever still blocks a thread (a read from a stalled disk) must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit
}
