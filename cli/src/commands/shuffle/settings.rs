//! `penstock shuffle settings`: of the masters, or of workers, whom a master asks.

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{show, tables};
use crate::{
    args::Global,
    client::Masters,
    exit::{Exit, Failed},
    output,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock shuffle settings
  penstock shuffle settings job_locations_max=200000 placement=load
  penstock shuffle settings --worker worker-1
  penstock shuffle settings --worker worker-1,worker-2 flush_from_percent=50 flush_to_percent=30
  penstock shuffle settings --all-workers split_from_bytes=256MiB log_filter=debug

What needs a restart is refused by name, and then nothing changes. SIGHUP makes a process read its file again, so write there
what is to stay.")]
pub struct Arguments {
    /// What to change; without any the settings in force are shown
    #[arg(value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Of these workers instead of the masters
    #[arg(long = "worker", value_name = "NAME", value_delimiter = ',')]
    workers: Vec<String>,
    /// Of all workers that the masters know
    #[arg(long, conflicts_with = "workers")]
    all_workers: bool,
}

pub async fn run(global: &Global, masters: &Masters, arguments: Arguments) -> anyhow::Result<Exit> {
    let changes = object(&arguments.changes)?;
    let workers = match arguments.all_workers {
        true => names(&masters.get(&["workers"]).await?)?,
        false => arguments.workers,
    };
    match (workers.is_empty(), changes) {
        (true, None) if arguments.all_workers => {
            Err(Failed::new(Exit::Infrastructure, "no shuffle worker reports to the masters").into())
        }
        (true, None) => show(global, &masters.get(&["settings"]).await?, tables::settings),
        (true, Some(changes)) => show(global, &masters.post(&["settings"], &changes).await?, tables::changed),
        (false, changes) => of_workers(global, masters, &workers, changes).await,
    }
}

/// Goes on with the next worker when one fails, and fails in the end as the first of those.
async fn of_workers(
    global: &Global,
    masters: &Masters,
    workers: &[String],
    changes: Option<Value>,
) -> anyhow::Result<Exit> {
    let (mut answers, mut failure) = (Vec::new(), None);
    for worker in workers {
        let path = ["workers", worker, "settings"];
        let answer = match &changes {
            None => {
                masters.get(&path).await.map(|settings| json!({ "worker": worker, "settings": settings }))
            }
            Some(changes) => masters.post_once(&path, changes).await,
        };
        match answer {
            Ok(answer) => answers.push(answer),
            Err(cause) if workers.len() == 1 => return Err(cause),
            Err(cause) => {
                eprintln!("error: {worker}: {cause}");
                failure = failure.or(Some(cause));
            }
        }
    }
    let answer = json!({ "workers": answers });
    if global.json {
        output::print_json(&answer)?;
    } else {
        println!("{}", tables::settings_of_workers(&answer));
    }
    match failure {
        None => Ok(Exit::Ok),
        Some(cause) => Err(cause.context("not all workers did it, the first that did not")),
    }
}

fn names(answer: &Value) -> anyhow::Result<Vec<String>> {
    let workers = answer["workers"].as_array().context("the master's list of workers cannot be read")?;
    let alive = workers.iter().filter(|worker| worker["alive"] == true);
    Ok(alive.filter_map(|worker| worker["worker"].as_str()).map(str::to_owned).collect())
}

/// A value is JSON if it can be read so, else text, which the service reads as it reads flags.
fn object(changes: &[String]) -> anyhow::Result<Option<Value>> {
    let mut settings = Map::new();
    for change in changes {
        let (key, value) =
            change.split_once('=').ok_or_else(|| Failed::usage(format!("`{change}` is not KEY=VALUE")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        if settings.insert(key.trim().to_owned(), value).is_some() {
            return Err(Failed::usage(format!("`{key}` is given twice")).into());
        }
    }
    Ok((!settings.is_empty()).then_some(Value::Object(settings)))
}
