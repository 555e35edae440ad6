//! Where a sink's files go and what happens to what is there.

use serde::{Deserialize, Serialize};

/// What publishing does to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkMode {
    /// Adds the files to what is there. File names are unique per job, so nothing is replaced.
    Append,
    /// The files replace everything below the target folder.
    Overwrite,
    /// The target folder must not exist, or hold no files, at the moment of publishing.
    Create,
    /// Exactly one file, which replaces a file of the same name. The target is its folder.
    SingleFile,
}

/// All that publishing needs, beside the files that the winners wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkTarget {
    /// Folder that the final paths are relative to; ends in `/`.
    pub target_url: String,
    /// Folder that the staged paths are relative to; ends in `/`, on the same store and file system as the target, of
    /// this statement alone: remove it whole when the statement ended, however it ended.
    pub staging_url: String,
    pub mode: SinkMode,
}
