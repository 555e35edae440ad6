//! `penstock cancel`

use clap::Args;

use crate::{args::Global, exit::Exit, output};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock cancel JOB --reason 'wrong day'
  penstock cancel --key daily-2024-01-01")]
pub struct Arguments {
    /// The job's id
    #[arg(required_unless_present = "key", conflicts_with = "key")]
    job: Option<String>,
    /// Cancel the job that was submitted with this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Said in the job's record
    #[arg(long)]
    reason: Option<String>,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let client = global.client()?;
    let reason = arguments.reason.as_deref();
    let answer = match (&arguments.job, &arguments.key) {
        (Some(id), _) => serde_json::to_value(client.cancel(id, reason).await?)?,
        (None, key) => client.cancel_by_key(key.as_deref().unwrap_or_default(), reason).await?,
    };
    if global.json {
        output::print_json(&answer)?;
    } else if !global.quiet {
        println!("{}", answer["state"].as_str().unwrap_or("cancelled"));
    }
    Ok(Exit::Ok)
}
