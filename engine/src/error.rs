//! What can go wrong with a statement, in words for the person who wrote it.
//!
//! [`SqlError`] is a mistake found while planning, with its place in the script. [`classify`] turns an error of a
//! running task into a [`Failure`](penstock_protocol::task::Failure) that says whose fault it is.

mod classify;
mod damaged;
mod sql_error;

pub(crate) use classify::plain;
pub use classify::{FREE_SPILL_SPACE, classify};
pub(crate) use damaged::damaged;
pub use sql_error::{Position, SqlError};
