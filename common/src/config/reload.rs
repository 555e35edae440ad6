//! Settings that change while a role runs. Top-level keys of its struct; which of them may change is the role's to say.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

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
    #[error("unknown setting `{0}`")]
    Unknown(String),
    #[error("these settings do not fit: {0}")]
    Value(serde_json::Error),
}

/// `wanted`, but with the present values of the keys in `fixed`.
pub fn reload<T: Serialize + DeserializeOwned>(present: &T, wanted: T, fixed: &[&str]) -> (T, Reloaded) {
    let (before, mut after) = (fields(present), fields(&wanted));
    let mut reloaded = Reloaded::default();
    for (key, value) in &mut after {
        let present = before.get(key).unwrap_or(&Value::Null);
        if present == value {
            continue;
        }
        if fixed.contains(&key.as_str()) {
            value.clone_from(present);
            reloaded.refused.push(key.clone());
        } else {
            reloaded.changed.push(key.clone());
        }
    }
    let next = serde_json::from_value(Value::Object(after));
    (next.expect("values of two configurations of one type make a third one"), reloaded)
}

/// `present` with the keys of the object `changes` replaced.
pub fn with_changes<T: Serialize + DeserializeOwned>(present: &T, changes: &Value) -> Result<T, ChangeError> {
    let Value::Object(changes) = changes else { return Err(ChangeError::NoObject) };
    let mut wanted = fields(present);
    for (key, value) in changes {
        let place = wanted.get_mut(key).ok_or_else(|| ChangeError::Unknown(key.clone()))?;
        *place = value.clone();
    }
    serde_json::from_value(Value::Object(wanted)).map_err(ChangeError::Value)
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
        assert_eq!(reload(&present(), present(), &[]).1, Reloaded::default());
    }

    #[test]
    fn changes_name_known_settings_and_fit() {
        let changed = with_changes(&present(), &json!({ "limit": 7 })).expect("fits");
        assert_eq!(changed, Config { limit: 7, ..present() });
        for wrong in [json!({ "limits": 7 }), json!({ "limit": "many" }), json!([])] {
            assert!(with_changes(&present(), &wrong).is_err(), "{wrong}");
        }
    }
}
