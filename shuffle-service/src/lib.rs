//! The shuffle service: keeps what map tasks push until reduce tasks have read it.
//!
//! A [`master`] knows the workers, places partitions and ends the lives of jobs' data; a [`worker`] stores. The owner of
//! a shuffle, which decides what counts, lives in the coordinator and is a library (`client/src/owner`). A payload is
//! opaque bytes here: no Arrow, no DataFusion, no SQL.
//!
//! A batch's way: [`worker`] accepts the connection → push connection → store → location, in memory → disk when memory
//! runs short → fetch connection.

pub mod disk;
mod disk_view;
mod doorkeeper;
mod interruption;
pub mod master;
mod metrics;
mod order_guard;
mod ordered;
mod problem;
mod told;
pub mod worker;
