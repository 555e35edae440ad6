//! What masters and workers are told of a machine that goes.

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Interruption {
    /// In how many seconds.
    pub seconds: u64,
}
