//! What went wrong with a call to the object store, and what an operator can do about it.
//!
//! The store's own words are kept; a secret is not among them: requests are signed with it and never carry it.

use std::io;

use opendal::ErrorKind;

#[derive(Debug, thiserror::Error)]
enum ObjectError {
    #[error(
        "the object store refuses this worker: check its keys and its rights there, in `object_store` or in the \
         environment, and the clock of this machine: {}", .0.message()
    )]
    Refused(#[source] opendal::Error),
    #[error("the object store has no such bucket: check `object_store`: {}", .0.message())]
    NoBucket(#[source] opendal::Error),
    #[error(transparent)]
    Failed(opendal::Error),
}

pub(super) fn failed(error: opendal::Error) -> io::Error {
    match error.kind() {
        ErrorKind::NotFound => io::Error::new(io::ErrorKind::NotFound, error),
        // The object is shorter than what was put there.
        ErrorKind::RangeNotSatisfied => io::Error::new(io::ErrorKind::UnexpectedEof, error),
        ErrorKind::PermissionDenied => {
            io::Error::new(io::ErrorKind::PermissionDenied, ObjectError::Refused(error))
        }
        ErrorKind::ConfigInvalid => io::Error::other(ObjectError::NoBucket(error)),
        _ => io::Error::other(ObjectError::Failed(error)),
    }
}
