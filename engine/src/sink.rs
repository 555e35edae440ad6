//! Writing query results to files: what a sink writes, how a task writes its part, and where it waits to be published.
//!
//! Attempts write below `<staging>/<stage>-<task>-<attempt>/`; nothing they do is visible at the target: the staging
//! folder is hidden and staged files end in `.staged`, so that no listing of a table finds them. Moving the winners'
//! files into place is the coordinator's work, in one step, with [`SinkTarget`] and the tasks' `WrittenFile`s.

mod file_writer;
mod hive;
mod run;
mod target;
mod task_writer;
mod write_exec;

pub use run::SinkRun;
pub use target::{SinkMode, SinkTarget};
pub(crate) use target::{staging_beside, staging_inside};
pub(crate) use write_exec::check_spec;
pub use write_exec::{WriteExec, WriteSpec};
