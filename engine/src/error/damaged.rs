//! Files whose bytes make a format's reader panic.

use datafusion::error::DataFusionError;

#[derive(Debug, thiserror::Error)]
#[error("its bytes are damaged")]
pub struct DamagedFile;

/// What a reader's panic means.
pub(crate) fn damaged() -> DataFusionError {
    DataFusionError::External(Box::new(DamagedFile))
}
