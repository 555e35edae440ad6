//! Files as a worker uses them, as a value, so that tests and the simulation put their own in place.
//!
//! Every call is asynchronous; blocking happens behind this trait and nowhere else in the crate.

mod local;
mod memory;

use std::{fmt, io, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

pub use self::{local::LocalDisk, memory::MemoryDisk};

#[async_trait]
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Makes `directory` this process's own: creates it, refuses if another process holds it, and deletes what an
    /// earlier life left in it, which nobody can ask for any more.
    async fn take_over(&self, directory: &Path) -> io::Result<()>;

    /// Writes pieces one after the other from `offset`. The file and its folders are created when they are missing. After
    /// an error the bytes from `offset` on are undefined.
    async fn write_at(&self, file: &Path, offset: u64, pieces: Vec<Bytes>) -> io::Result<()>;

    /// Opens a file for reading. It can be read to its end even if it is removed in the meantime.
    async fn open(&self, file: &Path) -> io::Result<Arc<dyn StoredFile>>;

    /// Removes a folder with everything in it. One that is missing is fine.
    async fn remove_folder(&self, folder: &Path) -> io::Result<()>;

    /// Bytes that may still be written below `directory`.
    async fn free_bytes(&self, directory: &Path) -> io::Result<u64>;
}

#[async_trait]
pub trait StoredFile: Send + Sync + fmt::Debug {
    /// Exactly `length` bytes from `offset`; fewer are an error.
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes>;
}
