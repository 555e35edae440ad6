//! The coordinator: turns scripts into stages, stages into attempts, and answers for the result.
//!
//! Reading order: a client speaks to `api`, executors to `grpc`. Both hand an event to the loop in `server`, which owns
//! the pure `coordinator` core; the core answers with effects that `effects` carries out, each in a file of its own:
//! planning, shuffles, results, publication, the event log.
//! Not here: running tasks, storing shuffle data. Executors and shuffle workers are met on the wire only.

// The pure core: values in, values out.

// The shell: everything that touches the world.
pub mod api;
pub mod config;
pub mod effects;
pub mod event_log;
pub mod grpc;
pub mod metrics;
pub mod planning;
pub mod publish;
pub mod results;
pub mod secrets;
pub mod server;
pub mod shuffles;

pub use config::Config;
pub use server::{Handle, StartError, start};
