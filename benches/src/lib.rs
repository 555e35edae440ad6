//! How fast Penstock is, against one DataFusion process in the same run.
//!
//! `--bin tpch` is the comparison that `make bench` prints. Micro benchmarks stand in `benches/`.

pub mod engines;
pub mod report;
