//! Why data could not be pushed or fetched, by what the caller can do about it.

use penstock_protocol::{frame::Refusal, ids::ShuffleId};

/// Why an attempt's output could not be written. The attempt has failed; dropping its writer leaves nothing visible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// A worker lost what it held of this shuffle: only a new run of the stage helps.
    #[error("shuffle {shuffle} is lost: {reason}")]
    Lost { shuffle: ShuffleId, reason: String },
    /// Another attempt may succeed.
    #[error("shuffle {shuffle} is not available: {reason}")]
    Unavailable { shuffle: ShuffleId, reason: String },
    /// A disk, memory or frame limit was hit, or a quota is used up.
    #[error("shuffle {shuffle} ran out of room: {reason}")]
    NoRoom { shuffle: ShuffleId, reason: String },
}

impl PushError {
    pub(crate) fn refused(shuffle: ShuffleId, refusal: Refusal, worker: &str) -> Self {
        let reason = format!("worker {worker} refused a batch: {refusal}");
        match refusal {
            Refusal::NoRoom | Refusal::OverQuota => Self::NoRoom { shuffle, reason },
            Refusal::Unknown | Refusal::Expired | Refusal::OtherIncarnation | Refusal::Broken => {
                Self::Lost { shuffle, reason }
            }
            _ => Self::Unavailable { shuffle, reason },
        }
    }
}

/// Why a partition could not be read. What was read before is worthless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The data is gone or damaged: only a new run of the stage brings it back.
    #[error("shuffle {shuffle} is lost: {reason}")]
    Lost { shuffle: ShuffleId, reason: String },
    /// Reading again may succeed.
    #[error("shuffle {shuffle} is not available: {reason}")]
    Unavailable { shuffle: ShuffleId, reason: String },
}

impl FetchError {
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Lost { reason, .. } | Self::Unavailable { reason, .. } => reason,
        }
    }

    pub(crate) fn refused(shuffle: ShuffleId, refusal: Refusal, message: &str, worker: &str) -> Self {
        let reason = format!("worker {worker} refused to read: {refusal}: {message}");
        match refusal {
            Refusal::Unknown
            | Refusal::Expired
            | Refusal::OtherIncarnation
            | Refusal::Broken
            | Refusal::Corrupt
            | Refusal::Unreadable => Self::Lost { shuffle, reason },
            _ => Self::Unavailable { shuffle, reason },
        }
    }
}
