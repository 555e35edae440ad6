//! A configuration in the making: a JSON tree that starts as the defaults and takes one setting after the other.

use std::{collections::BTreeMap, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{ConfigError, Loaded, Origin, nearest};

/// How a setting was written: a file has types, variables and flags are text.
pub(super) enum Written {
    Value(Value),
    Text(String),
}

pub(super) struct Draft<T> {
    tree: Value,
    /// Leaf keys of the defaults. A default of `null` or `{}` takes any value below it.
    origins: BTreeMap<String, Origin>,
    target: PhantomData<T>,
}

impl<T> Draft<T> {
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.origins.keys()
    }

    /// Splits a table into settings by known leaf key; what is not known keeps its own path.
    pub(super) fn keys_in(&self, table: &Value) -> BTreeMap<String, Value> {
        let mut settings = BTreeMap::new();
        self.collect("", table, &mut settings);
        settings
    }

    fn collect(&self, path: &str, value: &Value, settings: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) if !self.origins.contains_key(path) => {
                for (name, value) in fields {
                    self.collect(&join(path, name), value, settings);
                }
            }
            _ => drop(settings.insert(path.to_owned(), value.clone())),
        }
    }
}

impl<T: DeserializeOwned + Serialize + Default> Draft<T> {
    pub(super) fn of_defaults(section: &str) -> Result<Self, ConfigError> {
        let refused = |reason: String| ConfigError::Defaults { section: section.to_owned(), reason };
        let tree = serde_json::to_value(T::default()).map_err(|cause| refused(cause.to_string()))?;
        let mut origins = BTreeMap::new();
        leaves("", &tree, &mut origins);
        Ok(Self { tree, origins, target: PhantomData })
    }

    /// Sets one key, and checks at once that the struct takes the value, so that the error names this key.
    pub(super) fn set(&mut self, key: &str, written: Written, origin: Origin) -> Result<(), ConfigError> {
        if !self.origins.contains_key(key) {
            let nearest = nearest(key, self.origins.keys().map(String::as_str));
            return Err(ConfigError::UnknownKey { key: key.to_owned(), origin, nearest });
        }
        let before = self.tree.clone();
        let mut reason = String::new();
        for candidate in candidates(written, get(&before, key)) {
            put(&mut self.tree, key, candidate);
            match serde_json::from_value::<T>(self.tree.clone()) {
                Ok(_) => {
                    self.origins.insert(key.to_owned(), origin);
                    return Ok(());
                }
                Err(cause) if reason.is_empty() => reason = cause.to_string(),
                Err(_) => {}
            }
        }
        Err(ConfigError::Value { key: key.to_owned(), origin, reason })
    }

    pub(super) fn finish(self) -> Result<Loaded<T>, ConfigError> {
        let value = serde_json::from_value(self.tree)
            .map_err(|cause| ConfigError::Defaults { section: String::new(), reason: cause.to_string() })?;
        Ok(Loaded { value, origins: self.origins })
    }
}

/// The readings of a written value, the most probable first. Text could be a string or anything TOML can say.
pub(super) fn candidates(written: Written, current: Option<&Value>) -> Vec<Value> {
    let text = match written {
        Written::Value(value) => return vec![value],
        Written::Text(text) => text,
    };
    let string = Value::String(text.clone());
    let typed = toml_value(&text);
    match current {
        Some(Value::String(_)) => std::iter::once(string).chain(typed).collect(),
        Some(Value::Array(_)) => typed.into_iter().chain([comma_separated(&text), string]).collect(),
        _ => typed.into_iter().chain([string]).collect(),
    }
}

fn toml_value(text: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    serde_json::to_value(table.get("value")?).ok()
}

fn comma_separated(text: &str) -> Value {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
}

fn leaves(path: &str, value: &Value, found: &mut BTreeMap<String, Origin>) {
    match value {
        Value::Object(fields) if !fields.is_empty() || path.is_empty() => {
            for (name, value) in fields {
                leaves(&join(path, name), value, found);
            }
        }
        _ => drop(found.insert(path.to_owned(), Origin::Default)),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn get<'a>(tree: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(tree, |value, name| value.get(name))
}

fn put(tree: &mut Value, key: &str, value: Value) {
    let mut place = tree;
    for name in key.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = match place {
            Value::Object(fields) => fields.entry(name).or_insert(Value::Null),
            other => other,
        };
    }
    *place = value;
}
