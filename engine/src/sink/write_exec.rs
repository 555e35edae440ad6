//! The root of a sink's plan: each task writes its partition to files under the staging folder.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::physical_plan::ExecutionPlan;
use penstock_protocol::{ids::AttemptId, task::WrittenFile};
use serde::{Deserialize, Serialize};

use crate::catalog::FileFormat;

/// What to write; equal for all tasks. Travels with the plan as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteSpec {
    pub format: FileFormat,
    /// `format.*` options as DataFusion spells them.
    pub options: std::collections::BTreeMap<String, String>,
    /// Hive partition columns; each row goes to the folder of its values and the columns are left out of the files.
    pub partition_columns: Vec<String>,
    /// Start of every file's name, unique per statement of a job.
    pub file_prefix: String,
    /// The name of the only file, if there may be just one.
    pub single_file: Option<String>,
}

/// One attempt's run of a [`WriteExec`]: the executor puts it into the task's session
/// (`SessionConfig::with_extension`), runs the plan to its end and then takes what was written.
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

    /// The files of the attempt; complete once the plan's stream has ended without an error.
    pub fn take_written(&self) -> Vec<WrittenFile> {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes each partition of its input to files; yields one row `count` per partition.
#[derive(Debug)]
pub struct WriteExec {
    input: Arc<dyn ExecutionPlan>,
    spec: WriteSpec,
}
