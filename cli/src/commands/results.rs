//! `penstock results`

use clap::Args;

use crate::{
    args::Global,
    exit::{Exit, Failed},
    job,
    output::{self, Format, OutputArgs},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock results JOB
  penstock results JOB --statement 2 --output answer.parquet")]
pub struct Arguments {
    /// The job's id
    job: String,
    /// Position of the statement in the script, from 0 [default: the last one that has a result]
    #[arg(long, short, value_name = "INDEX")]
    statement: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
}

pub async fn run(global: &Global, mut arguments: Arguments) -> anyhow::Result<Exit> {
    if global.json && arguments.output.format.is_none() {
        arguments.output.format = Some(Format::Json);
    }
    arguments.output.check()?;
    let client = global.client()?;
    let job = client.job(&arguments.job).await?;
    if job.is_finished() {
        job::require_success(&job)?;
    }
    let statement = match arguments.statement {
        Some(index) => job.statements.iter().find(|statement| statement.index == index),
        None => job.statements.iter().rev().find(|statement| statement.has_result),
    };
    let Some(statement) = statement.filter(|statement| statement.has_result) else {
        let state = job.state.to_lowercase();
        return Err(Failed::usage(format!("there is no such result; the job is {state}")).into());
    };
    let mut batches = client.results(&job.job_id, statement.index, arguments.output.fetch_limit()).await?;
    output::write_result(&arguments.output, &mut batches, statement.rows).await?;
    Ok(Exit::Ok)
}
