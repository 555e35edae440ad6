//! The shuffle service from outside: executors push and fetch, the coordinator owns.
//!
//! [`ShuffleClient`] writes and reads data over pooled connections; [`owner::Owner`] reserves, commits and releases. Writers
//! that cannot go on where they are ask a [`Reviver`] for the next epoch; [`owner::Ledger`] is one for a process that owns
//! its shuffles itself. `examples/bytes.rs` is a whole shuffle in hundred lines.
//!
//! The way of a shuffle: reserve → a writer for each attempt, `push`, `finish` → the first attempt of each map that ends
//! wins ([`owner::MapEnds`]) → commit all epochs → [`owner::sources`] → read each partition → release.
//!
//! What is promised: `finish` returns when every batch is stored on every copy that was asked for. A reader gets the
//! payloads of the winners, each once, those of one map in the order in which they were pushed, and an error instead of the
//! end if anything is missing or damaged.
//! Not here: Arrow, DataFusion (a payload is opaque bytes), and any code of the service itself.

mod client;
mod connect;
mod error;
mod fetch;
pub mod metrics;
mod options;
pub mod owner;
mod push;
mod revive;
mod suspects;
mod tokens;
mod winners;
mod writer;

pub use self::{
    client::ShuffleClient,
    error::{FetchError, PushError},
    options::ClientOptions,
    revive::{NotRevived, ReviveRequest, Reviver},
    writer::{PAYLOAD_BYTES_MAX, Writer},
};
