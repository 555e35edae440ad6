//! Where a sink's files go and what happens to what is there.

use serde::{Deserialize, Serialize};
use url::Url;

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

/// The folder that holds the staging folders of all statements that write near it. Hidden by convention.
const STAGING: &str = ".penstock-staging";

/// A staging folder next to the target, or inside it where only that is on the same file system.
pub(crate) fn staging_beside(target: &Url, statement: &str) -> String {
    match target.join("..").ok().filter(|parent| parent != target && is_same_file_system(target, parent)) {
        Some(parent) => staging_inside(&parent, statement),
        None => staging_inside(target, statement),
    }
}

pub(crate) fn staging_inside(folder: &Url, statement: &str) -> String {
    format!("{folder}{STAGING}/{statement}/")
}

/// A target that is a mount point is on another file system than its parent; one that does not exist yet is not.
fn is_same_file_system(target: &Url, parent: &Url) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |url: &Url| {
        let path = url.to_file_path().ok()?;
        std::fs::metadata(path).ok().map(|metadata| metadata.dev())
    };
    match (target.scheme() == "file", device(target), device(parent)) {
        (true, Some(target), Some(parent)) => target == parent,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_is_beside_a_folder() {
        let target = Url::parse("file:///data/out/").expect("is a url");
        assert_eq!(staging_beside(&target, "j-0"), "file:///data/.penstock-staging/j-0/");
    }

    #[test]
    fn staging_of_a_whole_store_is_inside_it() {
        let target = Url::parse("s3://bucket/").expect("is a url");
        assert_eq!(staging_beside(&target, "j-0"), "s3://bucket/.penstock-staging/j-0/");
    }
}
