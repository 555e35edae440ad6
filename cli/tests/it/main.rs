//! The program from outside: what users run, what they read, how it exits, what stays behind.

mod bad_input;
mod cluster;
mod copies;
mod demo;
mod full_disk;
mod joins;
mod leaks;
mod network;
mod network_cuts;
mod oracle;
mod outputs;
mod own;
mod rerun;
mod restart;
mod run;
mod shuffle;
mod soak;
mod spread;
mod support;
mod takeover;
mod tpch;
