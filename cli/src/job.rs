//! What a user asks to run, and how it is followed to its end.

use std::{collections::BTreeMap, io::Read, path::PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::{
    client::{Client, JobStatus, Submission},
    exit::{Class, Exit, Failed},
    output::{self, OutputArgs},
    paths,
    progress::Progress,
};

#[derive(Debug, Clone, Args)]
pub struct ScriptArgs {
    /// Script file, or - for standard input
    #[arg(short, long, value_name = "PATH", conflicts_with = "execute", required_unless_present = "execute")]
    pub file: Option<PathBuf>,
    /// Script text; statements are separated by ;
    #[arg(short, long, value_name = "SQL")]
    pub execute: Option<String>,
    /// Value of $NAME in the script: a JSON value, else text
    #[arg(short, long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    pub parameters: Vec<(String, String)>,
    /// Setting of this job, such as penstock.partitions=16
    #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub settings: Vec<(String, String)>,
    /// Name that lists show [default: the script's file name]
    #[arg(long)]
    pub name: Option<String>,
}

impl ScriptArgs {
    pub fn submission(&self) -> anyhow::Result<Submission> {
        Ok(Submission {
            sql: self.text()?,
            name: self.name.clone().or_else(|| self.file_name()),
            parameters: no_doubles("--param", &self.parameters)?.into_iter().map(typed).collect(),
            settings: no_doubles("--set", &self.settings)?,
            owner: std::env::var("USER").ok().filter(|user| !user.is_empty()),
            client: "cli".to_owned(),
            base_url: paths::working_directory_url()?,
            ..Submission::default()
        })
    }

    fn text(&self) -> anyhow::Result<String> {
        match (&self.execute, &self.file) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(path)) if path.as_os_str() == "-" => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .context("reading the script from standard input")?;
                Ok(text)
            }
            (None, Some(path)) => std::fs::read_to_string(path).map_err(|cause| {
                Failed::usage(format!("reading the script {}: {cause}", path.display())).into()
            }),
            (None, None) => Err(Failed::usage("no script: use -f FILE or -e SQL").into()),
        }
    }

    fn file_name(&self) -> Option<String> {
        let path = self.file.as_ref().filter(|path| path.as_os_str() != "-")?;
        Some(path.file_stem()?.to_string_lossy().into_owned())
    }
}

pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

pub fn no_doubles(flag: &str, pairs: &[(String, String)]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for (name, value) in pairs {
        if values.insert(name.clone(), value.clone()).is_some() {
            return Err(Failed::usage(format!("{flag} {name} is given twice")).into());
        }
    }
    Ok(values)
}

/// Numbers, booleans, null, quoted text and lists are what JSON says; everything else is text.
fn typed((name, text): (String, String)) -> (String, Value) {
    let value = match serde_json::from_str(&text) {
        Ok(Value::Object(_)) | Err(_) => Value::String(text),
        Ok(value) => value,
    };
    (name, value)
}

/// Follows a job until it ended.
pub async fn follow(client: &Client, id: &str, progress: &mut Progress) -> anyhow::Result<JobStatus> {
    let mut job = client.job(id).await?;
    loop {
        progress.show(&job);
        if job.is_finished() {
            return Ok(job);
        }
        job = client.job_after(id, job.version).await?;
    }
}

/// A job that did not succeed as the error that it is.
pub fn require_success(job: &JobStatus) -> anyhow::Result<()> {
    if job.succeeded() {
        return Ok(());
    }
    let Some(failure) = &job.failure else {
        let exit = if job.state == "CANCELLED" { Exit::Cancelled } else { Exit::Infrastructure };
        return Err(Failed::new(exit, format!("the job is {}", job.state.to_lowercase())).into());
    };
    let mut message = failure.message.clone();
    if failure.class() == Class::Cancelled {
        message = format!("the job was cancelled: {message}");
    }
    // Where it ran says nothing about wrong SQL or data.
    let is_of_user = matches!(failure.class(), Class::UserSql | Class::UserData);
    let place: Vec<_> = ["stage", "task", "attempt", "executor"]
        .into_iter()
        .filter_map(|key| Some(format!("{key} {}", plain(failure.more.get(key)?)?)))
        .collect();
    if !place.is_empty() && !is_of_user {
        message = format!("{message}\n  in {}", place.join(", "));
    }
    Err(Failed { exit: failure.class().exit(), message, advice: failure.advice.clone() }.into())
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Writes the results of a job that succeeded: all of them to standard output, the last one to a file.
pub async fn write_results(client: &Client, job: &JobStatus, arguments: &OutputArgs) -> anyhow::Result<()> {
    let mut wanted: Vec<_> = job.statements.iter().filter(|statement| statement.has_result).collect();
    if arguments.output.is_some() {
        if wanted.is_empty() {
            return Err(Failed::usage("the script has no result to write to --output").into());
        }
        wanted.drain(..wanted.len() - 1);
    }
    for statement in wanted {
        let mut batches = client.results(&job.job_id, statement.index, arguments.fetch_limit()).await?;
        output::write_result(arguments, &mut batches, statement.rows).await?;
    }
    Ok(())
}

/// What sinks wrote, for people.
pub fn note_outputs(job: &JobStatus) {
    for outputs in job.statements.iter().filter_map(|statement| statement.outputs.as_ref()) {
        eprintln!(
            "wrote {} rows in {} files ({}) to {}",
            output::rows(outputs.rows),
            outputs.files,
            output::bytes(outputs.bytes),
            outputs.target
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_json_values_or_text() {
        let cases = [
            ("5", json!(5)),
            ("1.5", json!(1.5)),
            ("true", json!(true)),
            ("null", json!(null)),
            ("\"5\"", json!("5")),
            ("2024-01-01", json!("2024-01-01")),
            ("[1, 2]", json!([1, 2])),
            ("it's", json!("it's")),
        ];
        for (text, value) in cases {
            assert_eq!(typed(("p".into(), text.into())).1, value, "{text}");
        }
    }

    #[test]
    fn a_pair_needs_a_name_and_an_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("=b").is_err());
        assert!(pair("a").is_err());
    }
}
