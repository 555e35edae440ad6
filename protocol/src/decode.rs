//! Reading wire messages: a field that is missing or makes no sense is an error that names the field.
//!
//! In: generated types. Out: plain types or a [`DecodeError`] with the path of the bad field. Not here: the conversions
//! themselves, which stand in [`crate::wire`].

use std::fmt;

use crate::{ids::JobId, status::RpcError};

/// A message that does not say what it must. Retrying cannot help: the sender has to be fixed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{path}` {problem}")]
pub struct DecodeError {
    /// The field from the outside in, such as `attempt.task.job`.
    pub path: String,
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    Missing,
    /// An enumeration's number that this build does not know.
    Unknown {
        value: i64,
    },
    /// Not what it has to be, in the words of `expected`.
    Invalid {
        expected: &'static str,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "is missing"),
            Self::Unknown { value } => write!(f, "holds the unknown value {value}"),
            Self::Invalid { expected } => write!(f, "is not {expected}"),
        }
    }
}

impl DecodeError {
    pub fn missing(field: &str) -> Self {
        Self { path: field.to_owned(), problem: Problem::Missing }
    }

    pub fn unknown(field: &str, value: impl Into<i64>) -> Self {
        Self { path: field.to_owned(), problem: Problem::Unknown { value: value.into() } }
    }

    pub fn invalid(field: &str, expected: &'static str) -> Self {
        Self { path: field.to_owned(), problem: Problem::Invalid { expected } }
    }

    /// The same error seen from the message that holds the bad one in `field`.
    pub fn within(mut self, field: &str) -> Self {
        self.path = format!("{field}.{}", self.path);
        self
    }
}

impl From<DecodeError> for tonic::Status {
    fn from(error: DecodeError) -> Self {
        RpcError::from(error).into()
    }
}

/// Turns an optional wire field into its value or into an error with its name.
pub trait Required<T> {
    fn required(self, field: &'static str) -> Result<T, DecodeError>;
}

impl<T> Required<T> for Option<T> {
    fn required(self, field: &'static str) -> Result<T, DecodeError> {
        self.ok_or_else(|| DecodeError::missing(field))
    }
}

/// Decodes a required message field into its plain type, with the field's name in front of errors from inside.
pub fn required<M, T>(message: Option<M>, field: &'static str) -> Result<T, DecodeError>
where
    T: TryFrom<M, Error = DecodeError>,
{
    T::try_from(message.required(field)?).map_err(|error| error.within(field))
}

/// Decodes a message field that may be absent.
pub fn optional<M, T>(message: Option<M>, field: &'static str) -> Result<Option<T>, DecodeError>
where
    T: TryFrom<M, Error = DecodeError>,
{
    message.map(T::try_from).transpose().map_err(|error| error.within(field))
}

/// Decodes every element of a repeated field; an error names the element.
pub fn each<M, T, C>(messages: Vec<M>, field: &'static str) -> Result<C, DecodeError>
where
    T: TryFrom<M, Error = DecodeError>,
    C: FromIterator<T>,
{
    let decode =
        |(index, message)| T::try_from(message).map_err(|error| error.within(&format!("{field}[{index}]")));
    messages.into_iter().enumerate().map(decode).collect()
}

/// A job's id is the 16 bytes of its UUID.
pub fn job_id(bytes: &[u8], field: &'static str) -> Result<JobId, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::missing(field));
    }
    uuid::Uuid::from_slice(bytes).map(JobId).map_err(|_| DecodeError::invalid(field, "a job id of 16 bytes"))
}
