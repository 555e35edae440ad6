//! What can be asked for on the command line. Each command's own arguments stand with the command.

use clap::{Args, Parser, Subcommand};
use penstock_common::telemetry::LogFormat;

use crate::{
    client::Client,
    commands::{
        cancel, cluster, completions, config, demo, explain, jobs, logs, results, run, shuffle, status,
        submit, tables, wait,
    },
    exit::EXIT_CODES_HELP,
    roles::{self, RoleArgs},
};

const EXAMPLES: &str = "\
Examples:
  penstock demo                                        TPC-H on a cluster inside this process
  penstock run -e \"select 1\"                           run SQL without any server
  penstock run -f job.sql --param day=2024-01-01 --output answer.parquet
  penstock cluster up                                  a local cluster of real processes
  penstock submit -f job.sql --wait                    run SQL on it";

/// Batch SQL on a cluster: stages, a remote shuffle service, and a history that explains each job.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES_HELP}"))]
#[command(propagate_version = true, disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The coordinator to talk to [default: the local cluster, http://127.0.0.1:7070]
    #[arg(long, global = true, env = "PENSTOCK_URL", value_name = "URL", help_heading = "Global options")]
    pub url: Option<String>,
    /// Answer with JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// No progress, and no notes that are not errors
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// How log lines look: text or json
    #[arg(
        long,
        global = true,
        env = "PENSTOCK_LOG_FORMAT",
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    log_format: Option<LogFormat>,
}

impl Global {
    pub fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or_default()
    }

    pub fn client(&self) -> anyhow::Result<Client> {
        match &self.url {
            Some(url) => Client::new(url),
            None => {
                Client::new(&cluster::running_url().unwrap_or_else(|| "http://127.0.0.1:7070".to_owned()))
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the 22 TPC-H queries on a cluster inside this process and check every answer
    Demo(demo::Arguments),
    /// Run a script on a cluster inside this process; needs no server
    Run(run::Arguments),

    /// Send a script to a cluster
    Submit(submit::Arguments),
    /// Show one job
    Status(status::Arguments),
    /// Wait until a job ended; the exit code says how
    Wait(wait::Arguments),
    /// Show what happened in a job
    Logs(logs::Arguments),
    /// Fetch a result of a job
    Results(results::Arguments),
    /// Cancel a job
    Cancel(cancel::Arguments),
    /// List jobs
    Jobs(jobs::Arguments),
    /// Show the plan of a script without running it
    Explain(explain::Arguments),
    /// List tables, or describe one
    Tables(tables::Arguments),

    /// Start, stop and look at a local cluster of real processes
    Cluster(cluster::Arguments),
    /// Look at the shuffle service and tell it what to do
    Shuffle(shuffle::Arguments),
    /// Run a coordinator
    Coordinator(RoleArgs<roles::Coordinator>),
    /// Run an executor
    Executor(RoleArgs<roles::Executor>),
    /// Run a shuffle master
    ShuffleMaster(RoleArgs<roles::ShuffleMaster>),
    /// Run a shuffle worker
    ShuffleWorker(RoleArgs<roles::ShuffleWorker>),
    /// Run a history server
    HistoryServer(RoleArgs<roles::HistoryServer>),

    /// Show the configuration and where each value comes from
    Config(config::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
}

impl Cli {
    /// Roles log what they do; commands only what goes wrong, since they say the rest themselves.
    pub fn log_filter(&self) -> &'static str {
        match self.command {
            Command::Coordinator(_)
            | Command::Executor(_)
            | Command::ShuffleMaster(_)
            | Command::ShuffleWorker(_)
            | Command::HistoryServer(_) => "info,datafusion=warn,h2=warn,hyper=warn,tower=warn,sqlx=warn",
            _ => "off",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
