//! Reads bodies and queries strictly: an unknown key is refused with the nearest known one.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{StatusCode, request::Parts},
};
use penstock_engine::nearest::did_you_mean;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ApiError;

/// Names of all keys that a body or a query may have.
pub trait Keys {
    const KEYS: &'static [&'static str];
}

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: Keys + DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            ApiError::new(rejection.status(), "unreadable_body", rejection.body_text())
        })?;
        parse(&bytes).map(Self)
    }
}

fn parse<T: Keys + DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = if bytes.is_empty() { b"{}" } else { bytes };
    let value: Value = serde_json::from_slice(text)
        .map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))?;
    let Value::Object(object) = &value else {
        return Err(ApiError::bad_request("the body must be a JSON object"));
    };
    check_keys::<T>(object.keys().map(String::as_str))?;
    serde_json::from_value(value).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn check_keys<'a, T: Keys>(keys: impl Iterator<Item = &'a str>) -> Result<(), ApiError> {
    for key in keys {
        if !T::KEYS.contains(&key) {
            let known = || format!("known keys: {}", T::KEYS.join(", "));
            let advice = did_you_mean(key, T::KEYS.iter().copied()).unwrap_or_else(known);
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "unknown_key",
                format!("there is no key `{key}`"),
            )
            .with_advice(advice));
        }
    }
    Ok(())
}

/// The part of a URL after `?`.
pub struct Params<T>(pub T);

impl<T: Keys + DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let keys: Vec<String> =
            url::form_urlencoded::parse(query.as_bytes()).map(|(key, _)| key.into_owned()).collect();
        check_keys::<T>(keys.iter().map(String::as_str))?;
        let Query(params) = Query::try_from_uri(&parts.uri)
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        Ok(Self(params))
    }
}

/// `30s`, `500ms`, `2m` or plain seconds.
pub fn parse_duration(text: &str) -> Result<Duration, ApiError> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let unit = match &text[digits..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        _ => return Err(bad_duration(text)),
    };
    let seconds: f64 = text[..digits].parse().map_err(|_| bad_duration(text))?;
    Duration::try_from_secs_f64(seconds * unit).map_err(|_| bad_duration(text))
}

fn bad_duration(text: &str) -> ApiError {
    ApiError::bad_request(format!("`{text}` is not a duration")).with_advice("write it as 30s, 500ms or 2m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("30s").ok(), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("1.5").ok(), Some(Duration::from_millis(1_500)));
        assert_eq!(parse_duration("250ms").ok(), Some(Duration::from_millis(250)));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("-1s").is_err());
    }
}
