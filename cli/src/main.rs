//! `penstock`: starts each role, all of them in one process, and talks to a cluster.
//!
//! Reading order: `args` says what can be asked for, `commands` has one file for each, `embedded` is a whole cluster in
//! this process, `client` speaks REST, `output` writes results, `exit` is how it ends.

use std::process::ExitCode;

use clap::Parser;

mod args;
mod commands;

mod client;
mod embedded;
mod job;
mod paths;
mod roles;

mod output;
mod progress;

mod exit;

use args::Cli;
use exit::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    penstock_common::telemetry::init(cli.global.log_format(), cli.log_filter());
    let exit = run(cli).unwrap_or_else(|error| exit::report(&error));
    ExitCode::from(exit as u8)
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("penstock").build()?;
    let exit = runtime.block_on(commands::run(cli));
    // Whatever still blocks a thread (a read from a stalled disk) must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit
}
