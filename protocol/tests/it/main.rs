//! What crosses the wire is read back as it was, and bytes of released versions stay readable.

mod executor_samples;
mod executor_wire;
mod golden;
