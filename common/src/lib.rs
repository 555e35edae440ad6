//! What every process of Penstock needs and that has nothing to do with SQL.
//!
//! Here: configuration layers, telemetry, named tasks with an owner, time and network as values, retries, and the
//! builders for HTTP and gRPC. Not here: jobs, shuffles, DataFusion.

pub mod config;
pub mod telemetry;

pub mod lately;
pub mod lifecycle;
pub mod signal;

pub mod clock;
pub mod net;

pub mod grpc;
pub mod http;
pub mod retry;
pub mod silence;

pub mod bytes;
pub mod machine;
