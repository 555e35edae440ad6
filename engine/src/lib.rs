//! docs
pub mod attempt;
pub mod batch_io;
pub mod codec;
pub mod exchange;
pub mod fragment;
pub mod local;
pub mod metrics;
pub mod stage_graph;
