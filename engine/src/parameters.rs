//! Values for a script's `$name` placeholders.
//!
//! A value takes the place of its placeholder as a typed literal token, after the script was tokenised: it can be used
//! wherever the grammar takes a literal (`LIMIT $n`, `COPY t TO $path`), and whatever it holds, it stays one literal.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use serde_json::Value;

use crate::{error::SqlError, nearest::did_you_mean, script::Script};

/// By name, without the `$`: numbers, texts, booleans, nulls and lists of them.
pub type Parameters = BTreeMap<String, Value>;

/// Every placeholder has a value and every value a placeholder; otherwise the error points at the first that has not.
pub fn check(script: &Script, parameters: &Parameters) -> Result<(), SqlError> {
    let mut used = BTreeSet::new();
    for (name, position) in script.placeholders() {
        let value = parameters
            .get(name)
            .ok_or_else(|| missing(name, parameters))
            .map_err(|error| error.at(script.text(), *position))?;
        check_value(name, value).map_err(|error| error.at(script.text(), *position))?;
        used.insert(name.as_str());
    }
    match parameters.keys().find(|name| !used.contains(name.as_str())) {
        Some(unused) => {
            let mut error = SqlError::sql(format!("parameter `{unused}` is not used in the script"));
            let names = script.placeholders().map(|(name, _)| name.as_str());
            error.suggestion = did_you_mean(unused, names);
            Err(error)
        }
        None => Ok(()),
    }
}

fn missing(name: &str, parameters: &Parameters) -> SqlError {
    let mut error = SqlError::sql(format!("parameter `{name}` has no value"));
    let nearest = did_you_mean(name, parameters.keys().map(String::as_str));
    error.suggestion = nearest.or_else(|| Some(format!("pass it with `--param {name}=…`")));
    error
}

fn check_value(name: &str, value: &Value) -> Result<(), SqlError> {
    match value {
        Value::Object(_) => Err(SqlError::sql(format!("parameter `{name}` cannot be an object"))),
        Value::Array(items) => items.iter().try_for_each(|item| check_value(name, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// The tokens with each placeholder replaced by the literal of its value, at the same place.
pub(crate) fn substitute(tokens: &[TokenWithSpan], parameters: &Parameters) -> Vec<TokenWithSpan> {
    let replaced = tokens.iter().flat_map(|token| {
        let value = match &token.token {
            Token::Placeholder(name) => parameters.get(name.trim_start_matches('$')),
            _ => None,
        };
        match value {
            Some(value) => {
                literal(value).into_iter().map(|literal| TokenWithSpan::new(literal, token.span)).collect()
            }
            None => vec![token.clone()],
        }
    });
    replaced.collect()
}

fn literal(value: &Value) -> Vec<Token> {
    match value {
        Value::Null | Value::Object(_) => vec![Token::make_keyword("NULL")],
        Value::Bool(true) => vec![Token::make_keyword("TRUE")],
        Value::Bool(false) => vec![Token::make_keyword("FALSE")],
        Value::Number(number) => number_literal(&number.to_string()),
        Value::String(text) => vec![Token::SingleQuotedString(text.clone())],
        Value::Array(items) => array_literal(items),
    }
}

/// A negative number is the negation of a literal; parentheses keep it one operand.
fn number_literal(number: &str) -> Vec<Token> {
    match number.strip_prefix('-') {
        Some(positive) => {
            vec![Token::LParen, Token::Minus, Token::Number(positive.to_owned(), false), Token::RParen]
        }
        None => vec![Token::Number(number.to_owned(), false)],
    }
}

fn array_literal(items: &[Value]) -> Vec<Token> {
    let mut tokens = vec![Token::LBracket];
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            tokens.push(Token::Comma);
        }
        tokens.extend(literal(item));
    }
    tokens.push(Token::RBracket);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(script: &str, parameters: Value) -> String {
        let script = Script::parse(script).expect("parses");
        let parameters = serde_json::from_value(parameters).expect("is an object");
        check(&script, &parameters).map_or_else(|error| error.to_string(), |()| "ok".to_owned())
    }

    #[test]
    fn missing_and_unused_parameters_are_errors() {
        let script = "select $day, $limit";
        assert_eq!(verdict(script, serde_json::json!({"day": "2026-01-01", "limit": 3})), "ok");
        let missing = verdict(script, serde_json::json!({"day": 1, "limt": 3}));
        assert!(missing.starts_with("parameter `limit` has no value\n  at line 1, column 14"), "{missing}");
        assert!(missing.ends_with("did you mean `limt`?"), "{missing}");
        let unused = verdict(script, serde_json::json!({"day": 1, "limit": 3, "x": 1}));
        assert_eq!(unused, "parameter `x` is not used in the script");
    }

    #[test]
    fn a_text_that_looks_like_sql_stays_a_text() {
        let script = Script::parse("select * from t where a = $a").expect("parses");
        let parameters = Parameters::from([("a".to_owned(), Value::from("1' or '1' = '1"))]);
        let crate::script::Parsed::Statement(statement) = script.parsed(0, &parameters).expect("parses")
        else {
            panic!("is a plain statement");
        };
        assert_eq!(statement.to_string(), "SELECT * FROM t WHERE a = '1'' or ''1'' = ''1'");
    }
}
