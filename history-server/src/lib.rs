//! Explains what a job did, while it runs and after everything that ran it is gone.
//!
//! In: event logs on any store. Out: REST under `/api/v1` and a web page. Reads only: the coordinator is the one
//! writer, and the server never talks to it. In reading order:

pub mod config;
mod server;

pub mod segment;
pub mod source;

pub mod model;
pub mod replay;

pub mod index;
pub mod logs;

pub mod rest;
pub mod view;

mod metrics;
mod web;

pub use config::Config;
pub use server::{Handle, StartError, start};
