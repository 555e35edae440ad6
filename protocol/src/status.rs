//! Errors between our own processes: a closed list of codes, how each travels as a gRPC status, and which may be
//! retried.
//!
//! The exact code rides in the metadata key [`CODE_KEY`], because several of ours share one gRPC code. A status that did
//! not come from us (a proxy, a broken connection) is read by its gRPC code.

use tonic::{Code, Status, metadata::MetadataValue};

use crate::decode::DecodeError;

/// Metadata key of the exact code.
pub const CODE_KEY: &str = "penstock-code";

/// What went wrong, in the only words that callers decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The message cannot be read or contradicts itself.
    InvalidMessage,
    /// The other side is another build.
    BuildMismatch,
    /// Nobody here knows the job, shuffle, location or file that was asked for.
    NotFound,
    /// The state forbids it, now and later: already committed, other winner, same name with another definition.
    Conflict,
    /// Meant for a former life of this process, or sent by a former owner.
    Stale,
    /// A limit was hit: disk, memory, no worker that takes new data.
    NoRoom,
    /// A job or its user holds as much as it may.
    QuotaExceeded,
    /// Stored data is gone or damaged.
    Lost,
    /// Not reachable, starting, or draining.
    Unavailable,
    /// No answer in time: it may or may not have happened.
    DeadlineExceeded,
    /// The caller does not show what it must.
    Denied,
    /// A bug.
    Internal,
}

impl ErrorCode {
    pub const ALL: [Self; 12] = [
        Self::InvalidMessage,
        Self::BuildMismatch,
        Self::NotFound,
        Self::Conflict,
        Self::Stale,
        Self::NoRoom,
        Self::QuotaExceeded,
        Self::Lost,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::Denied,
        Self::Internal,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidMessage => "invalid_message",
            Self::BuildMismatch => "build_mismatch",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Stale => "stale",
            Self::NoRoom => "no_room",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Lost => "lost",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Denied => "denied",
            Self::Internal => "internal",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// Whether the same call, repeated as it is, may succeed. Only for calls that are idempotent.
    pub fn may_be_retried(self) -> bool {
        matches!(self, Self::NoRoom | Self::Unavailable | Self::DeadlineExceeded)
    }

    pub fn grpc(self) -> Code {
        match self {
            Self::InvalidMessage => Code::InvalidArgument,
            Self::BuildMismatch | Self::Conflict => Code::FailedPrecondition,
            Self::NotFound => Code::NotFound,
            Self::Stale => Code::Aborted,
            Self::NoRoom | Self::QuotaExceeded => Code::ResourceExhausted,
            Self::Lost => Code::DataLoss,
            Self::Unavailable => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Denied => Code::Unauthenticated,
            Self::Internal => Code::Internal,
        }
    }

    fn from_grpc(code: Code) -> Self {
        match code {
            Code::InvalidArgument | Code::OutOfRange => Self::InvalidMessage,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists | Code::FailedPrecondition => Self::Conflict,
            Code::Aborted => Self::Stale,
            Code::ResourceExhausted => Self::NoRoom,
            Code::DataLoss => Self::Lost,
            // tonic says `Unknown` when the transport breaks in mid-stream, and `Cancelled` when it breaks before a request is
            // sent.
            Code::Unavailable | Code::Unknown | Code::Cancelled => Self::Unavailable,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::Unauthenticated => Self::Denied,
            _ => Self::Internal,
        }
    }
}

/// An error as one process tells it to another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    pub code: ErrorCode,
    /// For people; never parsed.
    pub message: String,
}

impl RpcError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn may_be_retried(&self) -> bool {
        self.code.may_be_retried()
    }
}

impl From<DecodeError> for RpcError {
    fn from(error: DecodeError) -> Self {
        Self::new(ErrorCode::InvalidMessage, error.to_string())
    }
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Self {
        let mut status = Status::new(error.code.grpc(), error.message);
        status.metadata_mut().insert(CODE_KEY, MetadataValue::from_static(error.code.as_str()));
        status
    }
}

impl From<&Status> for RpcError {
    fn from(status: &Status) -> Self {
        let exact =
            status.metadata().get(CODE_KEY).and_then(|value| value.to_str().ok()).and_then(ErrorCode::parse);
        Self::new(exact.unwrap_or_else(|| ErrorCode::from_grpc(status.code())), status.message())
    }
}

impl From<Status> for RpcError {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_through_a_grpc_status() {
        for code in ErrorCode::ALL {
            let error = RpcError::new(code, "what happened");
            assert_eq!(RpcError::from(Status::from(error.clone())), error);
        }
    }

    #[test]
    fn a_status_from_elsewhere_is_read_by_its_grpc_code() {
        assert_eq!(RpcError::from(Status::unavailable("tcp")).code, ErrorCode::Unavailable);
        assert_eq!(RpcError::from(Status::unknown("h2")).code, ErrorCode::Unavailable);
        assert_eq!(RpcError::from(Status::cancelled("hyper")).code, ErrorCode::Unavailable);
        assert_eq!(RpcError::from(Status::unimplemented("x")).code, ErrorCode::Internal);
    }
}
