//! Values for a script's `$name` placeholders.

use std::collections::BTreeMap;

/// By name, without the `$`. Numbers, texts, booleans, nulls and lists of them.
pub type Parameters = BTreeMap<String, serde_json::Value>;
