//! Hides values whose name looks like a secret, before they reach a log, an event or an answer.

use std::collections::BTreeMap;

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
