//! Flags of a role, one for each key of its configuration.

use std::{collections::BTreeMap, marker::PhantomData, path::PathBuf};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};
use penstock_common::config::env_name;
use serde_json::Value;

use super::Role;

const CONFIG: &str = "config-file";
const READY: &str = "ready-file";

pub struct RoleArgs<R> {
    pub config: Option<PathBuf>,
    /// Where to write the addresses once the role is ready.
    pub ready_file: Option<PathBuf>,
    /// By configuration key.
    pub settings: BTreeMap<String, String>,
    role: PhantomData<R>,
}

impl<R: Role> std::fmt::Debug for RoleArgs<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(R::SECTION).field("config", &self.config).field("settings", &self.settings).finish()
    }
}

impl<R: Role> Args for RoleArgs<R> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long("config")
            .short('c')
            .env("PENSTOCK_CONFIG")
            .value_name("PATH")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!("TOML file; this role reads its table [{}]", R::SECTION));
        let ready = Arg::new(READY)
            .long("ready-file")
            .value_name("PATH")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Write the bound addresses here, as JSON, once ready");
        let settings = keys::<R>().into_iter().map(|(key, default)| setting::<R>(key, &default));
        command.arg(config).arg(ready).args(settings).after_help(examples::<R>())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The environment is read by the configuration itself, which knows each value's origin; here it is only named.
fn setting<R: Role>(key: String, default: &Value) -> Arg {
    let variable = format!("{}_{}", env_name(R::SECTION), key.replace('.', "_").to_uppercase());
    let shown = match default {
        Value::Null => "not set".to_owned(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Arg::new(key.clone())
        .long(flag(&key))
        .value_name("VALUE")
        .help(format!("[default: {shown}] [env: {variable}]"))
        .help_heading("Settings")
}

fn flag(key: &str) -> String {
    key.replace(['_', '.'], "-")
}

fn examples<R: Role>() -> String {
    let role = R::SECTION;
    format!("Examples:\n  penstock {role} --config penstock.toml\n  penstock config show {role}")
}

/// The leaf keys of a role's configuration, with their defaults.
fn keys<R: Role>() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    if let Ok(tree) = serde_json::to_value(R::Config::default()) {
        collect(String::new(), tree, &mut found);
    }
    found
}

fn collect(path: String, value: Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                collect(path, value, found);
            }
        }
        value => found.push((path, value)),
    }
}

impl<R: Role> FromArgMatches for RoleArgs<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let path = |id| matches.try_get_one::<PathBuf>(id).map(Option::<&PathBuf>::cloned);
        let refused = |cause: clap::parser::MatchesError| clap::Error::raw(ErrorKind::InvalidValue, cause);
        let mut settings = BTreeMap::new();
        for (key, _) in keys::<R>() {
            if let Some(text) = matches.try_get_one::<String>(&key).map_err(refused)? {
                settings.insert(key, text.clone());
            }
        }
        Ok(Self {
            config: path(CONFIG).map_err(refused)?,
            ready_file: path(READY).map_err(refused)?,
            settings,
            role: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
