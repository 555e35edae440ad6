//! A coordinator over real sockets, with a real shuffle service and executors that do what the test says.
#![allow(clippy::unwrap_used)]

mod cluster;
mod executor;
mod executors;
mod flight;
mod gated_store;
mod jobs;
mod no_room;
mod refusals;
mod reports;
mod restart;
mod signs_of_life;
