//! A role's configuration from its layers: defaults, one TOML file, `PENSTOCK_*` variables, flags.
//!
//! In: a struct with defaults. Out: its value, and for each key the layer it came from. Keys are the struct's own, nested
//! ones with dots; any other key is refused with the nearest known one. Not here: what a value means, which is each
//! service's `validate`.

use std::{collections::BTreeMap, env, fs, io, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

mod layer;
mod origin;
mod reload;

use layer::{Draft, Written};
pub use origin::Origin;
pub use reload::{ChangeError, Reloaded, keys, reload, with_changes};

/// The tables that a configuration file may have: one per role.
pub const SECTIONS: [&str; 5] =
    ["coordinator", "executor", "shuffle-master", "shuffle-worker", "history-server"];

#[derive(Debug, Clone)]
pub struct Loaded<T> {
    pub value: T,
    /// Every known key with the layer that set it.
    pub origins: BTreeMap<String, Origin>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("reading the configuration file {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("the configuration file {path} is not valid TOML: {source}")]
    Syntax { path: String, source: Box<toml::de::Error> },
    #[error("unknown section [{section}] in {path}{}", did_you_mean(.nearest))]
    UnknownSection { section: String, path: String, nearest: Option<String> },
    #[error("unknown setting `{key}` ({origin}){}", did_you_mean(.nearest))]
    UnknownKey { key: String, origin: Origin, nearest: Option<String> },
    #[error("setting `{key}` ({origin}): {reason}")]
    Value { key: String, origin: Origin, reason: String },
    #[error("the defaults of [{section}] cannot be shown as a table: {reason}")]
    Defaults { section: String, reason: String },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default()
}

/// Loads `section` from `file` if there is one, the environment, and `overrides` (flags by key).
pub fn load<T: DeserializeOwned + Serialize + Default>(
    section: &str,
    file: Option<&Path>,
    overrides: &BTreeMap<String, String>,
) -> Result<Loaded<T>, ConfigError> {
    load_with_env(section, file, env::vars(), overrides)
}

/// [`load`] with the environment as a value.
pub fn load_with_env<T: DeserializeOwned + Serialize + Default>(
    section: &str,
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
    overrides: &BTreeMap<String, String>,
) -> Result<Loaded<T>, ConfigError> {
    let mut draft = Draft::<T>::of_defaults(section)?;
    if let Some(path) = file {
        for (key, value) in file_settings(section, path, &draft)? {
            draft.set(&key, Written::Value(value), Origin::File(path.to_owned()))?;
        }
    }
    for (variable, key, text) in env_settings(section, variables, &draft)? {
        draft.set(&key, Written::Text(text), Origin::Env(variable))?;
    }
    for (key, text) in overrides {
        draft.set(key, Written::Text(text.clone()), Origin::Flag)?;
    }
    draft.finish()
}

fn file_settings<T>(
    section: &str,
    path: &Path,
    draft: &Draft<T>,
) -> Result<BTreeMap<String, Value>, ConfigError> {
    let shown = || path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: shown(), source })?;
    let table: toml::Table = toml::from_str(&text)
        .map_err(|source| ConfigError::Syntax { path: shown(), source: Box::new(source) })?;
    if let Some(unknown) = table.keys().find(|name| !SECTIONS.contains(&name.as_str())) {
        return Err(ConfigError::UnknownSection {
            section: unknown.clone(),
            path: shown(),
            nearest: nearest(unknown, SECTIONS.into_iter()),
        });
    }
    let Some(section) = table.get(section) else { return Ok(BTreeMap::new()) };
    let section = serde_json::to_value(section).unwrap_or(Value::Null);
    Ok(draft.keys_in(&section))
}

/// Variables that begin with the section's prefix, as (variable, key, text).
fn env_settings<T>(
    section: &str,
    variables: impl IntoIterator<Item = (String, String)>,
    draft: &Draft<T>,
) -> Result<Vec<(String, String, String)>, ConfigError> {
    let prefix = format!("{}_", env_name(section));
    let by_variable: BTreeMap<String, &String> =
        draft.keys().map(|key| (format!("{prefix}{}", env_key(key)), key)).collect();
    let mut settings = Vec::new();
    for (variable, text) in variables {
        if let Some(key) = by_variable.get(&variable) {
            settings.push((variable, (*key).clone(), text));
        } else if variable.starts_with(&prefix) {
            let nearest = nearest(&variable, by_variable.keys().map(String::as_str));
            let origin = Origin::Env(variable.clone());
            return Err(ConfigError::UnknownKey { key: variable, origin, nearest });
        }
    }
    settings.sort();
    Ok(settings)
}

/// The variable prefix of a section: `PENSTOCK_SHUFFLE_MASTER`.
pub fn env_name(section: &str) -> String {
    format!("PENSTOCK_{}", env_key(section))
}

fn env_key(key: &str) -> String {
    key.replace(['-', '.'], "_").to_uppercase()
}

/// The known name that `unknown` was most probably meant to be, if any is near.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|name| (strsim::damerau_levenshtein(unknown, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 2 + name.len() / 4)
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests;
