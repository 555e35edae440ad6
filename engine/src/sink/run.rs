//! One attempt's run of a sink: where it writes, and what it has written.

use std::sync::{Mutex, PoisonError};

use penstock_protocol::{ids::AttemptId, task::WrittenFile};

/// The executor puts it into the task's session (`SessionConfig::with_extension`), runs the plan to its end and then
/// takes what was written.
#[derive(Debug)]
pub struct SinkRun {
    /// The statement's staging folder.
    pub staging_url: String,
    pub attempt: AttemptId,
    written: Mutex<Vec<WrittenFile>>,
}

impl SinkRun {
    pub fn new(staging_url: impl Into<String>, attempt: AttemptId) -> Self {
        Self { staging_url: staging_url.into(), attempt, written: Mutex::default() }
    }

    /// `<stage>-<task>-<attempt>`: the folder of this attempt below the staging folder.
    pub fn folder(&self) -> String {
        let task = self.attempt.task;
        format!("{}-{}-{}", task.stage, task.index, self.attempt.number)
    }

    pub(super) fn add(&self, file: WrittenFile) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).push(file);
    }

    /// The files of the attempt; complete once the plan's stream has ended without an error.
    pub fn take_written(&self) -> Vec<WrittenFile> {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
