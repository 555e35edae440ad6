//! What is served over gRPC: the executors' stream, and Arrow Flight for clients.

pub mod executor_api;
pub mod executors;
