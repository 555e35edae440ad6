//! `penstock submit`

use clap::Args;

use crate::{
    args::Global,
    exit::Exit,
    job::{self, ScriptArgs},
    output::{self, OutputArgs},
    progress::Progress,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock submit -f job.sql
  penstock submit -f job.sql --key daily-2024-01-01 --wait --format csv > answer.csv
  id=$(penstock submit -e 'select 1' --json | jq -r .job_id)")]
pub struct Arguments {
    #[command(flatten)]
    script: ScriptArgs,
    /// Submitting again with the same key finds the job instead of running it twice
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Label of the job, for lists
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = job::pair)]
    labels: Vec<(String, String)>,
    /// The job fails when it takes longer
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Wait for the end and write the results
    #[arg(long, short)]
    wait: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    if arguments.wait {
        arguments.output.check()?;
    }
    let client = global.client()?;
    let mut submission = arguments.script.submission()?;
    submission.idempotency_key = arguments.key;
    submission.labels = job::no_doubles("--label", &arguments.labels)?;
    submission.timeout_seconds = arguments.timeout;
    let submitted = client.submit(&submission).await?;
    if !arguments.wait {
        if global.json {
            output::print_json(&submitted)?;
        } else {
            println!("{}", submitted.job_id);
            if let Some(url) = submitted.history_url.filter(|_| !global.quiet) {
                eprintln!("{url}");
            }
        }
        return Ok(Exit::Ok);
    }
    let mut progress = Progress::new(global.quiet);
    let job = job::follow(&client, &submitted.job_id, &mut progress).await?;
    drop(progress);
    if global.json {
        output::print_json(&job)?;
        return job::require_success(&job).map(|()| Exit::Ok);
    }
    job::require_success(&job)?;
    if !global.quiet {
        job::note_outputs(&job);
    }
    job::write_results(&client, &job, &arguments.output).await?;
    Ok(Exit::Ok)
}
