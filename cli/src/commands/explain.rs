//! `penstock explain`

use clap::Args;
use serde_json::{Value, json};

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
    let mut body = serde_json::to_value(arguments.script.submission()?)?;
    body["distributed"] = json!(arguments.distributed);
    let answer = global.client()?.explain(&body).await?;
    if global.json {
        output::print_json(&answer)?;
    } else {
        show(&answer);
    }
    Ok(Exit::Ok)
}

/// Prints every plan text of the answer, whatever it is nested in.
fn show(answer: &Value) {
    match answer {
        Value::Array(parts) => parts.iter().for_each(show),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if text.contains('\n') => {
                        println!("-- {name}\n{}\n", text.trim_end())
                    }
                    Value::String(text) => println!("-- {name}: {text}"),
                    other => show(other),
                }
            }
        }
        Value::Null => {}
        other => println!("{other}"),
    }
}
