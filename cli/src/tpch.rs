//! TPC-H for the demo, the tests and the benchmarks: its data, its queries, and answers to check against.

pub mod check;
pub mod data;
pub mod queries;
