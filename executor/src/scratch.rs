//! The executor's folder for spill files.
//!
//! Each life of an executor has a folder of its own, held by a lock on a file in it. Starting removes the folders of
//! lives that ended without cleaning up: their lock is free. Ending removes the own one. The quota is kept by DataFusion's
//! disk manager, which counts every byte that it spills. Spill files of an attempt go when the attempt is dropped.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use penstock_common::bytes::ByteSize;
use penstock_protocol::ids::{ExecutorId, Incarnation};
use tracing::{info, warn};

const FOLDER_PREFIX: &str = "executor-";
const LOCK_FILE: &str = "lock";

#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    quota: ByteSize,
    /// Locked for as long as this life lasts.
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
#[error("preparing the scratch folder {}", dir.display())]
pub struct ScratchError {
    pub dir: PathBuf,
    #[source]
    pub source: io::Error,
}

impl Scratch {
    /// Removes what former lives left in `root` and makes a folder for this one.
    pub fn open(
        root: &Path,
        executor: &ExecutorId,
        incarnation: Incarnation,
        quota: ByteSize,
    ) -> Result<Self, ScratchError> {
        let dir = root.join(format!("{FOLDER_PREFIX}{executor}-{incarnation}"));
        let failed = |source| ScratchError { dir: dir.clone(), source };
        fs::create_dir_all(root).map_err(failed)?;
        remove_abandoned(root);
        fs::create_dir_all(&dir).map_err(failed)?;
        let lock = lock(&dir).map_err(failed)?;
        Ok(Self { dir, quota, _lock: lock })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn quota_bytes(&self) -> u64 {
        self.quota.as_u64()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// The lock gets its name when it is held, so that nobody takes a folder that is just being made for an abandoned one.
fn lock(dir: &Path) -> io::Result<File> {
    let unnamed = dir.join("lock.new");
    let lock = File::create(&unnamed)?;
    lock.lock()?;
    fs::rename(unnamed, dir.join(LOCK_FILE))?;
    Ok(lock)
}

fn remove_abandoned(root: &Path) {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(cause) => {
            return warn!(root = %root.display(), %cause, "abandoned scratch folders cannot be listed");
        }
    };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(FOLDER_PREFIX);
        if is_ours && is_abandoned(&entry.path()) {
            info!(dir = %entry.path().display(), "removing the scratch folder of a former executor");
            remove(&entry.path());
        }
    }
}

/// A folder without a lock file is one that somebody is just making.
fn is_abandoned(dir: &Path) -> bool {
    let Ok(lock) = File::open(dir.join(LOCK_FILE)) else { return false };
    lock.try_lock().is_ok()
}

fn remove(dir: &Path) {
    if let Err(cause) = fs::remove_dir_all(dir)
        && cause.kind() != io::ErrorKind::NotFound
    {
        warn!(dir = %dir.display(), %cause, "scratch folder cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(root: &Path, incarnation: u64) -> Scratch {
        Scratch::open(root, &"e1".into(), Incarnation(incarnation), ByteSize::mib(1))
            .expect("the root is writable")
    }

    #[test]
    fn ending_removes_the_folder_with_everything_in_it() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        let scratch = open(root.path(), 1);
        fs::write(scratch.dir().join("spill"), b"rows")?;
        drop(scratch);
        assert_eq!(fs::read_dir(root.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn starting_removes_what_a_killed_executor_left_and_nothing_else() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        let killed = root.path().join("executor-e1-1");
        fs::create_dir(&killed)?;
        fs::write(killed.join(LOCK_FILE), b"")?;
        fs::create_dir(root.path().join("holiday-pictures"))?;
        let running = open(root.path(), 2);
        let also_running = open(root.path(), 3);
        assert!(!killed.exists());
        assert!(running.dir().exists() && also_running.dir().exists());
        assert!(root.path().join("holiday-pictures").exists());
        Ok(())
    }
}
