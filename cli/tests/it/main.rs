//! The program from outside: what users run, what they read, how it exits, what stays behind.

mod bad_input;
mod cluster;
mod copies;
mod demo;
mod full_disk;
mod oracle;
mod outputs;
mod rerun;
mod run;
mod shuffle;
mod soak;
mod support;
mod tpch;
