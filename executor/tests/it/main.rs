//! An executor over real sockets, with a coordinator that does what the test says.
#![allow(clippy::unwrap_used)]

mod coordinator;
mod runner;

mod drain;
mod engine;
mod handshake;
mod isolation;
mod orders;
mod reports;
