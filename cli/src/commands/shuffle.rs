//! `penstock shuffle`: the shuffle service, through the admin views of its masters.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use penstock_common::bytes::ByteSize;
use serde_json::{Value, json};

use crate::{
    args::Global,
    client::Masters,
    exit::{Exit, Failed},
    output,
};

mod named;
mod settings;
mod tables;

use named::Named;

const POLL: Duration = Duration::from_millis(500);
/// Ten years: whoever excludes a worker for longer decommissions it.
const SECONDS_MAX: u64 = 315_360_000;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock shuffle workers
  penstock shuffle partitions JOB
  penstock shuffle decommission worker-3 --wait
  penstock shuffle interrupt worker-3 --seconds 120
  penstock shuffle exclude worker-3 --seconds 3600 --reason 'slow disk'
  penstock shuffle quota --user ann --bytes 500GiB
  penstock shuffle settings job_locations_max=200000
  penstock shuffle settings --worker worker-3 flush_from_percent=50
  penstock shuffle include worker-3 --masters a:7073,b:7073 --secret-file /etc/penstock/secret")]
pub struct Arguments {
    #[command(flatten)]
    named: Named,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the workers: how they stand and what they hold
    #[command(after_help = "Examples:
  penstock shuffle workers
  penstock shuffle workers --json | jq -r '.workers[] | select(.state != \"serving\") | .worker'

States: serving; suspected (placements failed on it); leaving (its machine goes); draining, drained (decommissioned);
excluded; silent (no report in time); left (stopped in order).")]
    Workers,
    /// Show the jobs that the service holds something of
    #[command(after_help = "Examples:
  penstock shuffle jobs
  penstock shuffle jobs --json | jq '.jobs | max_by(.bytes)'")]
    Jobs,
    /// Show which worker holds what of a job
    #[command(after_help = "Examples:
  penstock shuffle partitions 0192e4a8-8c1f-7b30-9d52-3f6f0a9a2c11
  penstock shuffle partitions JOB --json | jq '[.locations[] | select(.phase == \"broken\")]'

Phases: open (takes batches), closing, committed, broken (cannot commit), released.")]
    Partitions {
        /// The job's id
        job: String,
    },
    /// Empty a worker: nothing new goes to it, and once its jobs have ended it may be stopped
    #[command(after_help = "Examples:
  penstock shuffle decommission worker-3
  penstock shuffle decommission worker-3 --wait --timeout 3600    # exit code 8 if it still holds data then")]
    Decommission {
        /// The worker's name
        worker: String,
        /// Wait until it holds nothing any more
        #[arg(long)]
        wait: bool,
        /// Seconds after which to stop waiting (exit code 8); it goes on draining
        #[arg(long, value_name = "SECONDS", requires = "wait")]
        timeout: Option<u64>,
    },
    /// Let a worker serve again
    #[command(after_help = "Examples:
  penstock shuffle recommission worker-3")]
    Recommission {
        /// The worker's name
        worker: String,
    },
    /// Tell a worker that its machine goes away: what is written moves to others, as far as there are any
    #[command(after_help = "Examples:
  penstock shuffle interrupt worker-3 --seconds 120
  penstock shuffle interrupt worker-3 --cancel          # it stays after all

What it holds is committed, and served as long as it lives.")]
    Interrupt {
        /// The worker's name
        worker: String,
        /// In how many seconds the machine goes
        #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
        seconds: u64,
        /// It does not go
        #[arg(long, conflicts_with = "seconds")]
        cancel: bool,
    },
    /// Give a worker nothing new for a while
    #[command(after_help = "Examples:
  penstock shuffle exclude worker-3 --seconds 3600 --reason 'slow disk'
  penstock shuffle include worker-3

What it holds stays and is served. It ends by itself.")]
    Exclude {
        /// The worker's name
        worker: String,
        /// For how long, from now on
        #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
        seconds: u64,
        /// Why, for others who look
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// End the exclusion of a worker, or the suspicion against it, before its time
    #[command(after_help = "Examples:
  penstock shuffle include worker-3")]
    Include {
        /// The worker's name
        worker: String,
    },
    /// Show the quotas of users, or set one over what is configured
    #[command(after_help = "Examples:
  penstock shuffle quota
  penstock shuffle quota --user ann --bytes 500GiB --locations 200000
  penstock shuffle quota --user ann                 # back to what is configured")]
    Quota(Quota),
    /// Show the settings of masters or workers, or change some until they start again
    Settings(settings::Arguments),
}

#[derive(Debug, Args)]
struct Quota {
    /// Whose quota to set; with neither --bytes nor --locations what is configured counts again
    #[arg(long)]
    user: Option<String>,
    /// Bytes that the user's jobs may hold together, such as 500GiB; 0 for no limit
    #[arg(long, requires = "user")]
    bytes: Option<ByteSize>,
    /// Locations (files at most) that they may hold together; 0 for no limit
    #[arg(long, requires = "user")]
    locations: Option<u64>,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let masters = arguments.named.masters()?;
    match arguments.command {
        Command::Workers => show(global, &masters.get(&["workers"]).await?, tables::workers),
        Command::Jobs => show(global, &masters.get(&["jobs"]).await?, tables::jobs),
        Command::Partitions { job } => {
            show(global, &masters.get(&["jobs", &job, "partitions"]).await?, tables::partitions)
        }
        Command::Decommission { worker, wait, timeout } => {
            let mut view = masters.post(&["workers", &worker, "decommission"], &json!({})).await?;
            if wait {
                view = until_drained(&masters, &worker, timeout).await?;
            }
            show(global, &view, tables::worker)
        }
        Command::Recommission { worker } => order(global, &masters, &worker, "recommission", json!({})).await,
        Command::Interrupt { worker, seconds, cancel } => {
            let path = ["workers", &worker, "interruption"];
            let view = match cancel {
                true => masters.delete_once(&path).await?,
                false => masters.post_once(&path, &json!({ "seconds": seconds })).await?,
            };
            show(global, &view, tables::worker)
        }
        Command::Exclude { worker, seconds, reason } => {
            order(global, &masters, &worker, "exclude", json!({ "seconds": seconds, "reason": reason })).await
        }
        Command::Include { worker } => order(global, &masters, &worker, "include", json!({})).await,
        Command::Quota(quota) => show(global, &quotas(&masters, quota).await?, tables::quotas),
        Command::Settings(arguments) => settings::run(global, &masters, arguments).await,
    }
}

fn show(global: &Global, answer: &Value, table: fn(&Value) -> String) -> anyhow::Result<Exit> {
    if global.json {
        output::print_json(answer)?;
    } else {
        println!("{}", table(answer));
    }
    Ok(Exit::Ok)
}

async fn order(
    global: &Global,
    masters: &Masters,
    worker: &str,
    what: &str,
    body: Value,
) -> anyhow::Result<Exit> {
    let view = masters.post(&["workers", worker, what], &body).await?;
    show(global, &view, tables::worker)
}

/// The worker once it holds nothing any more, or is gone: whoever emptied it may have stopped it already.
async fn until_drained(masters: &Masters, worker: &str, timeout: Option<u64>) -> anyhow::Result<Value> {
    let drained = async {
        loop {
            let view = masters.get(&["workers"]).await?;
            let workers =
                view["workers"].as_array().context("the master's list of workers cannot be read")?;
            let found = workers.iter().find(|shown| shown["worker"] == worker);
            match found {
                Some(found) if found["drained"] == false && found["alive"] == true => {}
                Some(found) if found["drained"] == false => {
                    let message = format!("worker {worker} fell silent before it was drained");
                    return Err(Failed::new(Exit::Infrastructure, message).into());
                }
                Some(found) => return anyhow::Ok(found.clone()),
                None => return anyhow::Ok(json!({ "worker": worker, "state": "gone" })),
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match timeout {
        None => drained.await,
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), drained).await.map_err(|_| {
            Failed::new(
                Exit::StillRunning,
                format!("worker {worker} still holds data after {seconds} seconds"),
            )
        })?,
    }
}

async fn quotas(masters: &Masters, quota: Quota) -> anyhow::Result<Value> {
    let Some(user) = quota.user else { return masters.get(&["quotas"]).await };
    let mut body = json!({ "user": user });
    if let Some(bytes) = quota.bytes {
        body["bytes"] = json!(bytes);
    }
    if let Some(locations) = quota.locations {
        body["locations"] = json!(locations);
    }
    // Each would complete it from what it knows.
    masters.post_once(&["quotas"], &body).await
}
