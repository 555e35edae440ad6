//! How fast Penstock is, against one DataFusion process, or with its shuffle against batches that stay in memory.
//!
//! `--bin tpch` is the comparison that `make bench` prints. Micro benchmarks stand in `benches/`. In reading order:

pub mod engines;
pub mod host;
pub mod report;
