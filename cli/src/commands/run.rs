//! `penstock run`: a script on a cluster of its own, inside this process.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use penstock_common::signal::{self, Termination};

use crate::{
    args::Global,
    client::{Client, JobStatus},
    embedded::{self, Cluster, Options},
    exit::{Exit, Failed},
    job::{self, ScriptArgs},
    output::{self, OutputArgs},
    paths,
    progress::Progress,
};

/// How long a cancelled job gets to wind down before the cluster is stopped under it.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock run -e \"select 6 * 7 as answer\"
  penstock run -e \"create external table t stored as parquet location 'orders/'; select count(*) from t\"
  penstock run -f job.sql --param day=2024-01-01 --format csv > answer.csv
  penstock run -f job.sql --set penstock.partitions=16 --output answer.parquet
  penstock run --state ./lake -e 'create table t as select 1 as a'   # tables stay in ./lake")]
pub struct Arguments {
    #[command(flatten)]
    script: ScriptArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// Keep tables and their data in this folder from run to run
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Tasks that run at the same time [default: the number of processors]
    #[arg(long, value_name = "TASKS")]
    pub slots: Option<u32>,
    /// Memory for all tasks together, such as 4GiB
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<penstock_common::bytes::ByteSize>,
}

impl ClusterArgs {
    pub fn options(&self) -> anyhow::Result<Options> {
        Ok(Options {
            state: self.state.clone(),
            slots: self.slots.unwrap_or_else(embedded::processors).max(1),
            memory: self.memory,
            event_log: paths::events()?,
            history: None,
        })
    }
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    arguments.output.check()?;
    let submission = arguments.script.submission()?;
    let options = arguments.cluster.options()?;
    let mut progress = Progress::new(global.quiet || global.json);
    progress.message("starting");
    let cluster = Cluster::start(options).await?;
    let ended = run_on(&cluster, global, &submission, &arguments.output, &mut progress).await;
    progress.clear();
    cluster.stop().await;
    ended
}

async fn run_on(
    cluster: &Cluster,
    global: &Global,
    submission: &crate::client::Submission,
    output: &OutputArgs,
    progress: &mut Progress,
) -> anyhow::Result<Exit> {
    let client = Client::new(&cluster.url())?;
    let submitted = client.submit(submission).await?;
    let work = async {
        let job = job::follow(&client, &submitted.job_id, progress).await?;
        progress.clear();
        finish(global, &client, &job, output).await
    };
    tokio::select! {
        ended = work => ended,
        failure = cluster.failed() => Err(Failed::new(Exit::Internal, failure.to_string()).into()),
        termination = signal::terminated() => {
            cancel(&client, &submitted.job_id).await;
            Err(interrupted(termination))
        }
    }
}

async fn finish(
    global: &Global,
    client: &Client,
    job: &JobStatus,
    arguments: &OutputArgs,
) -> anyhow::Result<Exit> {
    if global.json && arguments.format.is_none() && arguments.output.is_none() {
        output::print_json(job)?;
        return job::require_success(job).map(|()| Exit::Ok);
    }
    job::require_success(job)?;
    if !global.quiet {
        job::note_outputs(job);
    }
    job::write_results(client, job, arguments).await?;
    Ok(Exit::Ok)
}

/// Cancels and waits for the end, so that what the job had begun to write is taken back.
async fn cancel(client: &Client, id: &str) {
    let wind_down = async {
        client.cancel(id, Some("interrupted")).await?;
        job::follow(client, id, &mut Progress::new(true)).await
    };
    if !matches!(tokio::time::timeout(CANCEL_GRACE, wind_down).await, Ok(Ok(_))) {
        tracing::warn!("the job did not confirm its end");
    }
}

pub fn interrupted(termination: Termination) -> anyhow::Error {
    let exit = match termination {
        Termination::Interrupt => Exit::Interrupted,
        Termination::Terminate => Exit::Terminated,
    };
    Failed::new(exit, "interrupted, the job is cancelled").into()
}
