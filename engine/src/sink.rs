//! Writing query results to files: what a sink writes, how a task writes its part, and where it waits to be published.
//!
//! Attempts write below `<staging>/<stage>-<task>-<attempt>/`; nothing they do is visible at the target. Moving the
//! winners' files into place is the coordinator's work, in one step, with [`SinkTarget`] and the tasks' `WrittenFile`s.

mod target;
mod write_exec;

pub use target::{SinkMode, SinkTarget};
pub use write_exec::{SinkRun, WriteExec, WriteSpec};
