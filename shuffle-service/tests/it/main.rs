//! The shuffle service as its users meet it: real sockets on loopback, disks and networks with faults on demand.
#![allow(clippy::unwrap_used)]

mod admin;
mod backpressure;
mod bad_input;
mod cluster;
mod commit;
mod congestion;
mod data_plane;
mod disk_faults;
mod disks;
mod drain;
mod exchange;
mod expiry;
mod faults;
mod frame_faults;
mod frame_network;
mod from_files;
mod fuzz_corpus;
mod http;
mod leaks;
mod map_ranges;
mod network;
mod operations;
mod quotas;
mod replication;
mod restart;
mod restart_time;
mod s3;
mod second_copy;
mod short_circuit;
mod silence;
mod splits;
mod standby;
mod tiers;
mod tls;
mod watch;
