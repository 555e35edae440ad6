//! How fast the shuffle service is, each number beside its physical yardstick in the same run.
//!
//! Every role (plain sender, plain receiver, worker, client) is a process of its own, so that CPU seconds and peak memory
//! are its own. Yardstick and subject take turns, and the best round of each counts: what else the machine did only ever
//! adds. `--docs` rewrites the table in `docs/shuffle-numbers.md`.

mod child;
mod report;
mod role;
mod scenarios;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use penstock_shuffle_bench::docs;

/// As in the program `penstock`: see there for why.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// As in the program `penstock`.
#[cfg(not(target_env = "msvc"))]
#[allow(unsafe_code, reason = "jemalloc finds its options by the name of a symbol")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 37] = b"dirty_decay_ms:1000,muzzy_decay_ms:0\0";

#[derive(Debug, Parser)]
#[command(
    name = "shuffle",
    about = "Measures the shuffle service beside plain TCP, plain files and sendfile"
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One process of a measurement, started by the run.
    #[command(hide = true)]
    Role { role: String },
}

/// What to measure and where to write it.
#[derive(Debug, Clone, clap::Args)]
pub struct Run {
    /// GiB that each measurement moves.
    #[arg(long, default_value_t = 2.0)]
    gib: f64,
    /// Rounds of yardstick and subject; the best of each counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Only scenarios whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Folder on the disk to measure. Default: the system's folder for temporary files.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Write the report as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Rewrite the tables in this file.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/shuffle-numbers.md")]
    docs: Option<PathBuf>,
    /// What it ran on, for the tables.
    #[arg(long, default_value = "")]
    machine: String,
    /// The day of the run, for the tables.
    #[arg(long, default_value = "")]
    date: String,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.command {
        Some(Command::Role { role }) => role::run(serde_json::from_str(&role).context("reading the role")?),
        None => measure(&args.run),
    }
}

fn measure(run: &Run) -> anyhow::Result<()> {
    let report = scenarios::run(run)?;
    println!("{}", report.tables());
    if let Some(path) = &run.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &run.docs {
        docs::rewrite(path, "measured", &report.tables())?;
    }
    Ok(())
}
