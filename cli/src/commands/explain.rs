//! `penstock explain`

use clap::Args;
use serde_json::json;

use crate::{args::Global, exit::Exit, job::ScriptArgs, output};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock explain -e 'select count(*) from orders'
  penstock explain -f job.sql --distributed")]
pub struct Arguments {
    #[command(flatten)]
    script: ScriptArgs,
    /// Show the stages and what flows between them
    #[arg(long, short)]
    distributed: bool,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let script = arguments.script.submission()?;
    let body = json!({
        "sql": script.sql, "parameters": script.parameters, "settings": script.settings,
        "base_url": script.base_url, "distributed": arguments.distributed,
    });
    let answer = global.client()?.explain(&body).await?;
    if global.json {
        output::print_json(&answer)?;
    } else {
        println!("{}", answer["text"].as_str().unwrap_or_default().trim_end());
    }
    Ok(Exit::Ok)
}
