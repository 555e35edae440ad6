//! Settings that change while a role runs. Top-level keys of its struct; which of them may change is the role's to say.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    did_you_mean,
    layer::{Written, candidates},
    nearest,
};

/// What became of new settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Reloaded {
    /// Those that are in force now and were not before.
    pub changed: Vec<String>,
    /// Those that differ and need a restart; the old values stay in force.
    pub refused: Vec<String>,
}

/// Why changes do not make settings.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("settings are changed by a JSON object with their names as keys")]
    NoObject,
    #[error("unknown setting `{key}`{}", did_you_mean(.nearest))]
    Unknown { key: String, nearest: Option<String> },
    #[error("setting `{key}`: {reason}")]
    Value { key: String, reason: String },
}

/// `wanted`, but with the present values of the keys in `fixed`.
pub fn reload<T: Serialize + DeserializeOwned>(
    present: &T,
    wanted: T,
    fixed: &[impl AsRef<str>],
) -> (T, Reloaded) {
    let (before, mut after) = (fields(present), fields(&wanted));
    let mut reloaded = Reloaded::default();
    for (key, value) in &mut after {
        let present = before.get(key).unwrap_or(&Value::Null);
        if present == value {
            continue;
        }
        if fixed.iter().any(|fixed| fixed.as_ref() == key) {
            value.clone_from(present);
            reloaded.refused.push(key.clone());
        } else {
            reloaded.changed.push(key.clone());
        }
    }
    let next = serde_json::from_value(Value::Object(after));
    (next.expect("values of two configurations of one type make a third one"), reloaded)
}

/// `present` with the keys of the object `changes` replaced. Text is read as variables and flags are if the setting is none.
pub fn with_changes<T: Serialize + DeserializeOwned>(present: &T, changes: &Value) -> Result<T, ChangeError> {
    let Value::Object(changes) = changes else { return Err(ChangeError::NoObject) };
    let mut wanted = fields(present);
    for (key, value) in changes {
        let Some(before) = wanted.get(key) else {
            let nearest = nearest(key, wanted.keys().map(String::as_str));
            return Err(ChangeError::Unknown { key: key.clone(), nearest });
        };
        let written = match value {
            Value::String(text) => Written::Text(text.clone()),
            value => Written::Value(value.clone()),
        };
        let mut readings = candidates(written, Some(before)).into_iter().map(|reading| {
            let mut fields = wanted.clone();
            fields.insert(key.clone(), reading);
            serde_json::from_value::<T>(Value::Object(fields.clone())).map(|_| fields)
        });
        let first = readings.next().expect("a value has at least one reading");
        let read = first.or_else(|cause| readings.find_map(Result::ok).ok_or(cause));
        wanted = read.map_err(|cause| ChangeError::Value { key: key.clone(), reason: cause.to_string() })?;
    }
    Ok(serde_json::from_value(Value::Object(wanted)).expect("it was read a moment ago"))
}

/// The names of all settings.
pub fn keys(config: &impl Serialize) -> Vec<String> {
    fields(config).into_iter().map(|(key, _)| key).collect()
}

fn fields(config: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        // A configuration is a struct, which the loader has turned into JSON before.
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        listen: String,
        limit: u32,
        names: Vec<String>,
    }

    fn present() -> Config {
        Config { listen: "a".into(), limit: 1, names: vec!["x".into()] }
    }

    #[test]
    fn what_may_change_changes_and_the_rest_is_named() {
        let wanted = Config { listen: "b".into(), limit: 2, ..present() };
        let (next, reloaded) = reload(&present(), wanted, &["listen"]);
        assert_eq!(next, Config { limit: 2, ..present() });
        assert_eq!((reloaded.changed, reloaded.refused), (vec!["limit".into()], vec!["listen".into()]));
        assert_eq!(reload(&present(), present(), &["listen"]).1, Reloaded::default());
    }

    #[test]
    fn changes_name_known_settings_and_fit() {
        let changed = with_changes(&present(), &json!({ "limit": 7 })).expect("fits");
        assert_eq!(changed, Config { limit: 7, ..present() });
        let texts = json!({ "limit": "7", "names": "y,z", "listen": "5" });
        let changed = with_changes(&present(), &texts).expect("text is read as flags are");
        assert_eq!(changed, Config { listen: "5".into(), limit: 7, names: vec!["y".into(), "z".into()] });
        for (wrong, said) in [
            (json!({ "limits": 7 }), "unknown setting `limits`, did you mean `limit`?"),
            (json!({ "limit": "many" }), "setting `limit`: invalid type: string \"many\", expected u32"),
            (json!([]), "settings are changed by a JSON object with their names as keys"),
        ] {
            assert_eq!(with_changes(&present(), &wrong).expect_err("is wrong").to_string(), said);
        }
    }
}
