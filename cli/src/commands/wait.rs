//! `penstock wait`

use std::time::Duration;

use clap::Args;

use crate::{
    args::Global,
    exit::{Exit, Failed},
    job, output,
    progress::Progress,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock wait JOB && penstock results JOB
  penstock wait JOB --timeout 60   # exit code 8 if it still runs then")]
pub struct Arguments {
    /// The job's id
    job: String,
    /// Seconds after which to leave; the job runs on
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let client = global.client()?;
    let mut progress = Progress::new(global.quiet);
    let ended = job::follow(&client, &arguments.job, &mut progress);
    let job = match arguments.timeout {
        None => ended.await?,
        Some(seconds) => {
            tokio::time::timeout(Duration::from_secs(seconds), ended).await.map_err(|_| {
                Failed::new(Exit::StillRunning, format!("the job still runs after {seconds} seconds"))
            })??
        }
    };
    drop(progress);
    if global.json {
        output::print_json(&job)?;
    } else if !global.quiet {
        println!("{}", job.state);
    }
    job::require_success(&job)?;
    Ok(Exit::Ok)
}
