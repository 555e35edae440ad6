//! The shuffle service as its users meet it: real sockets on loopback, disks and networks with faults on demand.
#![allow(clippy::unwrap_used)]

mod admin;
mod backpressure;
mod bad_input;
mod cluster;
mod commit;
mod data_plane;
mod disks;
mod exchange;
mod expiry;
mod faults;
mod fuzz_corpus;
mod map_ranges;
mod network;
mod replication;
mod restart;
mod second_copy;
mod splits;
mod tiers;
mod tls;
mod watch;
