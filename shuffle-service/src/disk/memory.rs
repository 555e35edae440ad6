//! Files in memory for tests and the simulation, with faults on demand.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{Disk, StoredFile};

type Content = Arc<Mutex<Vec<u8>>>;

/// Behaves like a disk of a given size. Writes can be made to fail or to wait.
#[derive(Debug)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, Content>>,
    faults: Mutex<Faults>,
    /// One permit per write that may end; closed while writes are not held.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

#[derive(Debug)]
struct Faults {
    bytes_max: u64,
    write_error: Option<io::ErrorKind>,
    writes: u64,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::with_bytes_max(u64::MAX)
    }
}

impl MemoryDisk {
    pub fn with_bytes_max(bytes_max: u64) -> Self {
        let faults = Faults { bytes_max, write_error: None, writes: 0 };
        Self { files: Mutex::default(), faults: Mutex::new(faults), gate: Mutex::default() }
    }

    /// Makes room, or takes it away.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        lock(&self.faults).bytes_max = bytes_max;
    }

    /// Lets every write fail, or no longer.
    pub fn fail_writes(&self, error: Option<io::ErrorKind>) {
        lock(&self.faults).write_error = error;
    }

    /// Holds writes until [`Self::let_writes_go`].
    pub fn hold_writes(&self) {
        *lock(&self.gate) = Some(Arc::new(Semaphore::new(0)));
    }

    pub fn let_writes_go(&self) {
        if let Some(gate) = lock(&self.gate).take() {
            gate.close();
        }
    }

    /// Writes that were started.
    pub fn writes(&self) -> u64 {
        lock(&self.faults).writes
    }

    pub fn files(&self) -> Vec<PathBuf> {
        lock(&self.files).keys().cloned().collect()
    }

    pub fn used_bytes(&self) -> u64 {
        lock(&self.files).values().map(|content| lock(content).len() as u64).sum()
    }

    /// Changes stored bytes behind everybody's back.
    pub fn damage(&self, file: &Path, damage: impl FnOnce(&mut Vec<u8>)) {
        if let Some(content) = lock(&self.files).get(file) {
            damage(&mut lock(content));
        }
    }
}

#[async_trait]
impl Disk for MemoryDisk {
    async fn take_over(&self, directory: &Path) -> io::Result<()> {
        self.remove_folder(directory).await
    }

    async fn write_at(&self, file: &Path, offset: u64, pieces: Vec<Bytes>) -> io::Result<()> {
        lock(&self.faults).writes += 1;
        let gate = lock(&self.gate).clone();
        if let Some(gate) = gate {
            // An error says that the gate was closed, which lets everybody through.
            let _ = gate.acquire().await;
        }
        let bytes = pieces.concat();
        if let Some(error) = lock(&self.faults).write_error {
            return Err(error.into());
        }
        if self.used_bytes() + bytes.len() as u64 > lock(&self.faults).bytes_max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = Arc::clone(lock(&self.files).entry(file.to_owned()).or_default());
        let mut content = lock(&content);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        if content.len() < offset {
            return Err(io::Error::other("a hole in a file of batches"));
        }
        content.truncate(offset);
        content.extend(bytes);
        Ok(())
    }

    async fn open(&self, file: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let content = lock(&self.files).get(file).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile(content)))
    }

    async fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        lock(&self.files).retain(|path, _| !path.starts_with(folder));
        Ok(())
    }

    async fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        let bytes_max = lock(&self.faults).bytes_max;
        Ok(bytes_max.saturating_sub(self.used_bytes()))
    }
}

#[derive(Debug)]
struct MemoryFile(Content);

#[async_trait]
impl StoredFile for MemoryFile {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let content = lock(&self.0);
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = content.get(start..start + length).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Bytes::copy_from_slice(bytes))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
