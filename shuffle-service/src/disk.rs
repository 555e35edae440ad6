//! Files as a worker uses them, as a value, so that tests and the simulation put their own in place.
//!
//! Every call is asynchronous; blocking happens behind this trait and nowhere else in the crate. A call that was begun is
//! carried to its end even if its caller stops waiting, so whoever needs the bytes of a write back has to wait for it.

mod faulty;
mod local;
mod memory;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::{
    faulty::{Fault, FaultyDisk, Odds, Operation, Rule},
    local::LocalDisk,
    memory::MemoryDisk,
};

/// A file of this name directly below a worker's folder belongs to [`Disk::probe`].
const PROBE_FILE: &str = "probe";

/// Which way data takes to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Writes {
    /// Through the operating system's page cache.
    #[default]
    Cached,
    /// Past it.
    Direct,
}

#[async_trait]
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Makes `directory` this process's own: creates it, and refuses with [`io::ErrorKind::ResourceBusy`] if another process
    /// holds it. What an earlier life left there stays.
    async fn take_over(&self, directory: &Path) -> io::Result<()>;

    /// Writes, syncs, reads back and removes a small file below `directory`; an error if other bytes come back.
    async fn probe(&self, directory: &Path, content: Bytes) -> io::Result<()> {
        let file = directory.join(PROBE_FILE);
        self.write_at(&file, 0, vec![content.clone()]).await?;
        self.sync(&file).await?;
        let read = self.open(&file).await?.read_at(0, content.len()).await?;
        self.remove_file(&file).await?;
        if read == content {
            Ok(())
        } else {
            Err(io::Error::other("the disk returns other bytes than it took"))
        }
    }

    /// Writes pieces one after the other from `offset`. The file and its folders are created when they are missing. After
    /// an error the bytes from `offset` on are undefined.
    async fn write_at(&self, file: &Path, offset: u64, pieces: Vec<Bytes>) -> io::Result<()>;

    /// Returns when the bytes of a file survive a loss of power. Not its name: see [`Self::sync_folder`].
    async fn sync(&self, file: &Path) -> io::Result<()>;

    /// Returns when the names of the files and folders directly in `folder` survive a loss of power.
    async fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Gives a file a new content: whoever reads it, now or after a crash, finds the old one or the new one. If `durable`,
    /// the new one from the moment this returns.
    async fn replace(&self, file: &Path, content: Bytes, durable: bool) -> io::Result<()>;

    /// Opens a file for reading. It can be read to its end even if it is removed in the meantime.
    async fn open(&self, file: &Path) -> io::Result<Arc<dyn StoredFile>>;

    /// All files below `folder` with their lengths.
    async fn files(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>>;

    /// Removes a file. One that is missing is fine.
    async fn remove_file(&self, file: &Path) -> io::Result<()>;

    /// Removes a folder with everything in it. One that is missing is fine.
    async fn remove_folder(&self, folder: &Path) -> io::Result<()>;

    /// Bytes that may still be written below `directory`.
    async fn free_bytes(&self, directory: &Path) -> io::Result<u64>;
}

#[async_trait]
pub trait StoredFile: Send + Sync + fmt::Debug {
    /// Exactly `length` bytes from `offset`; fewer are an error.
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes>;

    /// What other processes of this host find it by while this value lives; none if it is no file of this process.
    fn open_file(&self) -> Option<OpenFile> {
        None
    }
}

/// A file that this process holds open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFile {
    /// This process's number for it.
    pub number: u32,
    /// Which file it is, whatever its names.
    pub device: u64,
    pub inode: u64,
}

#[cfg(test)]
mod tests;
