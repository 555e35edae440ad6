//! `penstock cluster`: a local cluster of real processes.
//!
//! A folder holds all there is to know: `cluster.json` with the processes, their logs, and what they store.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use penstock_common::bytes::ByteSize;

use crate::{args::Global, client::Client, exit::Exit, output, paths};

mod launch;
mod ports;
mod process;
mod record;
mod restart;
mod up;

use process::Liveness;
use record::{Cluster, Process};

/// How long a process may take to leave in order before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock cluster up
  penstock cluster up --executors 4 --memory 1GiB
  penstock cluster up --shuffle-masters 2 --shuffle-workers 3
  penstock cluster status
  penstock cluster restart shuffle-worker-1 shuffle-worker-2
  penstock cluster down")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start coordinator, executors, shuffle masters, shuffle workers and history server, and wait until they are ready
    Up(UpArgs),
    /// Stop all of them
    Down {
        #[command(flatten)]
        folder: Folder,
        /// Also remove tables, job records, event logs and logs of the cluster
        #[arg(long)]
        purge: bool,
    },
    /// Stop processes in order and start them again on what they had stored, one after the other
    Restart {
        #[command(flatten)]
        folder: Folder,
        /// Such as shuffle-worker-1
        #[arg(required = true, value_name = "PROCESS")]
        names: Vec<String>,
    },
    /// Show the processes
    Status {
        #[command(flatten)]
        folder: Folder,
    },
}

#[derive(Debug, Clone, Args)]
pub struct Folder {
    /// Folder of the cluster [default: penstock/cluster in the XDG state folder]
    #[arg(long = "state", value_name = "DIR", env = "PENSTOCK_CLUSTER_STATE")]
    state: Option<PathBuf>,
}

impl Folder {
    fn path(&self) -> anyhow::Result<PathBuf> {
        match &self.state {
            Some(folder) => Ok(std::path::absolute(folder)?),
            None => Ok(paths::state()?.join("cluster")),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    #[command(flatten)]
    folder: Folder,
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    executors: u32,
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    shuffle_workers: u32,
    /// Masters of the shuffle service: with more than one, another takes over when one goes
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4))]
    shuffle_masters: u32,
    /// Tasks that each executor runs at the same time [default: the processors divided by the executors]
    #[arg(long, value_name = "TASKS")]
    slots: Option<u32>,
    /// Memory of each executor, such as 1GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Port of the coordinator's REST; gRPC takes the next one, shuffle masters two each from the one after, the history
    /// server the tenth. 0 takes free ones
    #[arg(long, value_name = "PORT", default_value_t = 7070)]
    port: u16,
    /// TOML file for all roles; the flags of this command win
    #[arg(long, short, env = "PENSTOCK_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    match arguments.command {
        Command::Up(arguments) => up::run(global, &arguments).await,
        Command::Down { folder, purge } => down(global, &folder.path()?, purge).await,
        Command::Restart { folder, names } => restart::run(global, &folder.path()?, &names).await,
        Command::Status { folder } => status(global, &folder.path()?).await,
    }
}

/// The REST address of the cluster in the default folder, if one runs.
pub fn running_url() -> Option<String> {
    let folder = Folder { state: std::env::var_os("PENSTOCK_CLUSTER_STATE").map(PathBuf::from) };
    let cluster = record::read(&folder.path().ok()?).ok()??;
    cluster.processes.iter().any(Process::is_running).then_some(cluster.url)
}

/// Shuffle masters to talk to.
#[derive(Debug, Default)]
pub struct RunningMasters {
    /// Of their admin views.
    pub addresses: Vec<String>,
    /// What they were started with; empty: they demand no secret.
    pub secret_file: PathBuf,
}

/// The shuffle masters of the cluster in the default folder, as far as they run; none if none does.
pub fn running_shuffle_masters() -> Option<RunningMasters> {
    let folder = Folder { state: std::env::var_os("PENSTOCK_CLUSTER_STATE").map(PathBuf::from) };
    let cluster = record::read(&folder.path().ok()?).ok()??;
    let masters = cluster
        .processes
        .iter()
        .filter(|process| process.name.starts_with("shuffle-master") && process.is_running());
    let addresses: Vec<_> = masters.filter_map(|master| master.addresses.get("admin").cloned()).collect();
    // Whoever else listens where they would be must not see what shows their secret.
    (!addresses.is_empty()).then_some(RunningMasters { addresses, secret_file: cluster.secret_file })
}

async fn down(global: &Global, folder: &std::path::Path, purge: bool) -> anyhow::Result<Exit> {
    let cluster = record::read(folder)?;
    let processes = cluster.map(|cluster| cluster.processes).unwrap_or_default();
    let stopped = processes.iter().filter(|process| process.is_running()).count();
    process::stop_all(&processes, STOP_DEADLINE).await;
    record::remove(folder)?;
    if purge && folder.is_dir() {
        std::fs::remove_dir_all(folder)?;
    }
    if global.json {
        output::print_json(&serde_json::json!({ "stopped": stopped }))?;
    } else if !global.quiet {
        match stopped {
            0 => println!("no cluster runs here"),
            _ => println!("stopped {stopped} processes"),
        }
        if !purge && folder.is_dir() {
            println!("tables, job records and logs are kept in {} (--purge removes them)", folder.display());
        }
    }
    Ok(Exit::Ok)
}

/// Exit code 6 unless every process runs.
async fn status(global: &Global, folder: &std::path::Path) -> anyhow::Result<Exit> {
    let Some(cluster) = record::read(folder)? else {
        if global.json {
            output::print_json(&serde_json::json!({ "running": false, "processes": [] }))?;
        } else {
            println!("no cluster runs here; start one with `penstock cluster up`");
        }
        return Ok(Exit::Infrastructure);
    };
    let all_run = cluster.processes.iter().all(Process::is_running);
    let executors = connected_executors(&cluster).await;
    if global.json {
        output::print_json(&serde_json::json!({
            "running": all_run, "url": cluster.url, "history_url": cluster.history_url,
            "executors_connected": executors,
            "processes": cluster.processes.iter().map(Process::shown).collect::<Vec<_>>(),
        }))?;
    } else {
        print(&cluster, executors);
    }
    Ok(if all_run { Exit::Ok } else { Exit::Infrastructure })
}

fn print(cluster: &Cluster, executors: Option<usize>) {
    let rows = cluster.processes.iter().map(|process| {
        let state = match process.liveness() {
            Liveness::Running => "running",
            Liveness::Gone => "gone",
        };
        vec![
            process.name.clone(),
            process.pid.to_string(),
            state.to_owned(),
            process.addresses_shown(),
            process.log.display().to_string(),
        ]
    });
    println!("{}", output::table(&["process", "pid", "state", "listens on", "log"], &[1], rows.collect()));
    if let Some(executors) = executors {
        println!("\nexecutors connected: {executors}");
    }
    println!("coordinator:    {}\nhistory server: {}", cluster.url, cluster.history_url);
}

async fn connected_executors(cluster: &Cluster) -> Option<usize> {
    let answer = Client::new(&cluster.url).ok()?.get("executors").await.ok()?;
    let list = answer.get("executors").unwrap_or(&answer).as_array()?;
    Some(list.iter().filter(|executor| executor["state"] == "ACTIVE").count())
}
