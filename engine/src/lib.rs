//! docs
pub mod exchange;
