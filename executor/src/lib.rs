//! An executor: runs task attempts and says how they ended.
//!
//! It holds nothing that anyone else needs: rows come from and go to the shuffle service. It opens one stream to the
//! coordinator and takes work over it; work runs on threads of its own, so that the stream stays alive while a join
//! burns the cores. In reading order:

pub mod config;
mod server;

mod agent;
mod epochs;
mod stream;
mod workload;

mod reports;
mod slots;
mod stages;

mod attempt;
pub mod runner;
pub mod runtime;
pub mod shuffle_store;

pub mod memory;
pub mod scratch;

mod drain;
mod http;
pub mod metrics;
mod sample;

pub use self::{
    config::{Config, InvalidConfig},
    epochs::Epochs,
    server::{Handle, Parts, StartError, Status, start, start_with},
};
