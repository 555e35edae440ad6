//! The program `penstock`; see the library for what it does.

use std::{panic::AssertUnwindSafe, process::ExitCode};

use clap::Parser;
use penstock_cli::{args::Cli, exit};
use penstock_common::lifecycle::panic_message;

/// Memory limits are about resident memory. Batches are large, many, and freed by other threads than those that made
/// them: the system's allocator keeps what was freed, jemalloc gives it back. In an executor of 256 MiB that aggregated
/// 1 GiB, the peak fell from 531 to 253 MiB.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Freed pages go back within a second instead of ten. `MALLOC_CONF` in the environment, with jemalloc's prefix, wins.
#[cfg(not(target_env = "msvc"))]
#[allow(unsafe_code, reason = "jemalloc finds its options by the name of a symbol")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 37] = b"dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    let cli = Cli::parse();
    penstock_common::telemetry::init(cli.global.log_format(), cli.log_filter());
    // Panics are only logged, and a command logs nothing: a bug must still be told.
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| penstock_cli::run(cli)));
    let ended = ended.unwrap_or_else(|panic| Err(anyhow::anyhow!("{}", panic_message(panic.as_ref()))));
    let exit = ended.unwrap_or_else(|error| exit::report(&error));
    ExitCode::from(exit as u8)
}
