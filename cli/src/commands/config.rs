//! `penstock config show`: each role's settings, and the layer that each came from.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    args::Global,
    exit::{Exit, Failed},
    output,
    roles::{self, Role},
};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print each setting, its value and where that comes from
    #[command(after_help = "Examples:
  penstock config show
  penstock config show executor --config penstock.toml
  PENSTOCK_EXECUTOR_SLOTS=8 penstock config show executor --json")]
    Show {
        /// Only this role: coordinator, executor, shuffle-master, shuffle-worker or history-server
        role: Option<String>,
        /// The configuration file
        #[arg(long, short, env = "PENSTOCK_CONFIG", value_name = "PATH")]
        config: Option<PathBuf>,
    },
}

pub fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let Command::Show { role, config } = arguments.command;
    let mut sections = BTreeMap::new();
    for (section, load) in LOADERS {
        if role.as_deref().is_none_or(|role| role == section) {
            sections.insert(section, load(&config)?);
        }
    }
    if sections.is_empty() {
        let roles: Vec<_> = LOADERS.iter().map(|(section, _)| *section).collect();
        return Err(Failed::usage(format!("there is no such role; roles are {}", roles.join(", "))).into());
    }
    if global.json {
        output::print_json(&sections)?;
    } else {
        for (section, settings) in &sections {
            print(section, settings);
        }
    }
    Ok(Exit::Ok)
}

type Load = fn(&Option<PathBuf>) -> anyhow::Result<Settings>;
type Settings = BTreeMap<String, Value>;

const LOADERS: [(&str, Load); 5] = [
    (roles::Coordinator::SECTION, settings_of::<roles::Coordinator>),
    (roles::Executor::SECTION, settings_of::<roles::Executor>),
    (roles::ShuffleMaster::SECTION, settings_of::<roles::ShuffleMaster>),
    (roles::ShuffleWorker::SECTION, settings_of::<roles::ShuffleWorker>),
    (roles::HistoryServer::SECTION, settings_of::<roles::HistoryServer>),
];

/// Key to `{"value", "origin"}`.
fn settings_of<R: Role>(file: &Option<PathBuf>) -> anyhow::Result<Settings> {
    let loaded = roles::load::<R>(file.as_deref(), &BTreeMap::new())?;
    let tree = serde_json::to_value(&loaded.value)?;
    let settings = loaded.origins.iter().map(|(key, origin)| {
        let value = key.split('.').try_fold(&tree, |value, name| value.get(name)).cloned();
        (key.clone(), json!({ "value": value, "origin": origin.to_string() }))
    });
    Ok(settings.collect())
}

fn print(section: &str, settings: &Settings) {
    println!("[{section}]");
    for (key, setting) in settings {
        let value = &setting["value"];
        let line = if value.is_null() { format!("# {key} is not set") } else { format!("{key} = {value}") };
        println!("{line:<60} # {}", setting["origin"].as_str().unwrap_or_default());
    }
    println!();
}
