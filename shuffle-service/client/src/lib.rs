//! The shuffle service from outside: executors push and fetch, the coordinator owns.
//!
//! [`ShuffleClient`] writes and reads data over pooled connections; [`owner::Owner`] reserves, commits and releases.
//! Not here: Arrow, DataFusion (a payload is opaque bytes), and any code of the service itself.

mod client;
mod connect;
mod error;
mod fetch;
pub mod metrics;
mod options;
pub mod owner;
mod push;
mod winners;
mod writer;

pub use self::{
    client::ShuffleClient,
    error::{FetchError, PushError},
    options::ClientOptions,
    writer::{PAYLOAD_BYTES_MAX, Writer},
};
