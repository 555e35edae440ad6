//! The coordinator: turns scripts into stages, stages into attempts, and answers for the result.
//!
//! Reading order: a client speaks to `api`, executors to `grpc`. Both hand an event to `event_loop`, which owns the pure
//! `coordinator` core; the core answers with effects that `effects` carries out, each kind in a file of its own:
//! planning, shuffles, results, publication, the event log. `server` puts the pieces together.
//! Not here: running tasks, storing shuffle data. Executors and shuffle workers are met on the wire only.

// The pure core: values in, values out.
pub mod coordinator;
pub mod effect;
pub mod event;
pub mod executors;
pub mod job;
pub mod journal;
pub mod outbox;
pub mod scheduler;
pub mod store;

// The shell: everything that touches the world.
pub mod api;
pub mod catalog;
pub mod cluster_log;
pub mod config;
pub mod effects;
pub mod event_log;
pub mod event_loop;
pub mod grpc;
pub mod metrics;
pub mod planning;
pub mod publish;
pub mod replies;
pub mod results;
pub mod secrets;
pub mod server;
pub mod shuffles;
pub mod status_board;

pub use config::Config;
pub use server::{Handle, Parts, StartError, start, start_with};
