//! Hides values whose name looks like a secret, before they reach a log, an event or an answer.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::job::JobSpec;

/// What stands where a secret was.
pub const MASK: &str = "******";

const SUSPICIOUS: [&str; 7] =
    ["password", "passwd", "secret", "token", "credential", "access_key", "private_key"];

/// Whether a parameter or setting of this name may hold a secret. Wrongly hiding is cheap, wrongly showing is not.
pub fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SUSPICIOUS.iter().any(|word| name.contains(word))
        || name
            .split(['.', '_'])
            .any(|word| matches!(word, "key" | "apikey" | "accesskey" | "secretkey" | "pwd"))
}

/// The values as text, secret ones masked.
pub fn masked<'a, V: ToString + 'a>(
    values: impl IntoIterator<Item = (&'a String, &'a V)>,
) -> BTreeMap<String, String> {
    let show = |name: &str, value: &V| if looks_secret(name) { MASK.to_owned() } else { value.to_string() };
    values.into_iter().map(|(name, value)| (name.clone(), show(name, value))).collect()
}

/// The values of a job's secret parameters and settings, to find them in texts that were made from them, such as plans.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SecretValues(Vec<String>);

/// Shorter values are everywhere: hiding them would only garble texts.
const VALUE_BYTES_MIN: usize = 4;

impl SecretValues {
    pub fn of(spec: &JobSpec) -> Self {
        let parameters = spec.parameters.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
        let settings = spec.settings.iter().map(|(name, value)| (name, value.as_str()));
        let secret = parameters.chain(settings).filter(|(name, _)| looks_secret(name));
        let mut values: Vec<String> = secret.map(|(_, value)| value.to_owned()).collect();
        values.retain(|value| value.len() >= VALUE_BYTES_MIN);
        Self(values)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| text.replace(value, MASK))
    }

    /// As above in every text of a JSON value.
    pub fn hide_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.hide(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide_in(value)),
            Value::Object(values) => values.values_mut().for_each(|value| self.hide_in(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// The script with the values of secret options hidden: in `'s3.secret_access_key' 'abc'` and `key = 'abc'` the last
/// literal goes.
pub fn mask_script(script: &str) -> String {
    let mut masked = String::with_capacity(script.len());
    let mut name: Option<String> = None;
    let mut rest = script;
    while let Some(start) = rest.find('\'') {
        let before = &rest[..start];
        let Some(length) = literal_length(&rest[start..]) else { break };
        let literal = &rest[start + 1..start + length - 1];
        let named = name.take().filter(|_| is_between_name_and_value(before)).or_else(|| name_before(before));
        masked.push_str(before);
        if named.is_some_and(|name| looks_secret(&name)) {
            masked.push_str(&format!("'{MASK}'"));
        } else {
            masked.push_str(&rest[start..start + length]);
            name = Some(literal.to_owned());
        }
        rest = &rest[start + length..];
    }
    masked.push_str(rest);
    masked
}

/// Bytes of the quoted literal that `text` starts with, quotes included; `''` is a quote inside.
fn literal_length(text: &str) -> Option<usize> {
    let mut from = 1;
    loop {
        let quote = from + text[from..].find('\'')?;
        if text[quote + 1..].starts_with('\'') {
            from = quote + 2;
        } else {
            return Some(quote + 1);
        }
    }
}

fn is_between_name_and_value(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c == '=')
}

/// The word in front of `=` or of the literal itself: `set x.password = '…'`, `options (password '…')`.
fn name_before(text: &str) -> Option<String> {
    let text = text.trim_end().trim_end_matches('=').trim_end();
    let word = text.rsplit(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '"'))).next()?;
    (!word.is_empty()).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_ordinary_ones() {
        for name in ["password", "db.Password", "aws-secret-access-key", "API_KEY", "sas_token", "apikey"] {
            assert!(looks_secret(name), "{name}");
        }
        for name in ["day", "datafusion.execution.batch_size", "keyspace", "monkey", "penstock.partitions"] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn secret_options_in_a_script_are_hidden_and_nothing_else() {
        let script = "create external table t stored as csv location 'x' options \
                      ('aws.secret_access_key' 'it''s', 'format.delimiter' ';'); set a.password = 'b'; select 'c'";
        let expected = "create external table t stored as csv location 'x' options \
                        ('aws.secret_access_key' '******', 'format.delimiter' ';'); set a.password = '******'; \
                        select 'c'";
        assert_eq!(mask_script(script), expected);
    }

    #[test]
    fn values_of_secret_parameters_are_hidden_wherever_they_turn_up() {
        let parameters = BTreeMap::from([
            ("token".to_owned(), Value::from("s3cr3t")),
            ("pin_token".to_owned(), Value::from("1")),
            ("day".to_owned(), Value::from("monday")),
        ]);
        let values = SecretValues::of(&JobSpec { parameters, ..JobSpec::default() });
        let mut event = serde_json::json!({ "plan": ["Filter: a = Utf8(\"s3cr3t\") AND b = 1", "monday"] });
        values.hide_in(&mut event);
        let expected = serde_json::json!({ "plan": ["Filter: a = Utf8(\"******\") AND b = 1", "monday"] });
        assert_eq!(event, expected);
    }

    #[test]
    fn a_script_with_an_open_quote_is_kept() {
        assert_eq!(mask_script("select 'abc"), "select 'abc");
    }

    #[test]
    fn masking_keeps_names_and_hides_values() {
        let values = BTreeMap::from([("token".to_owned(), "abc"), ("day".to_owned(), "monday")]);
        let shown = masked(values.iter());
        assert_eq!(shown["token"], MASK);
        assert_eq!(shown["day"], "monday");
    }
}
