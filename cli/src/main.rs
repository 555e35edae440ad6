//! The program `penstock`; see the library for what it does.

use std::process::ExitCode;

use clap::Parser;
use penstock_cli::{args::Cli, exit};

fn main() -> ExitCode {
    let cli = Cli::parse();
    penstock_common::telemetry::init(cli.global.log_format(), cli.log_filter());
    let exit = penstock_cli::run(cli).unwrap_or_else(|error| exit::report(&error));
    ExitCode::from(exit as u8)
}
