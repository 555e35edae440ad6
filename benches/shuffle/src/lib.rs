//! What benchmarks share: what a process used, and tables that stand in a document.

pub mod docs;
pub mod usage;
