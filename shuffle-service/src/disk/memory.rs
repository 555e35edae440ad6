//! Files in memory for tests and the simulation, with faults on demand.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use super::{Disk, StoredFile};

type Content = Arc<Mutex<Vec<u8>>>;

/// Behaves like a disk of a given size. Writes can be made to fail or to wait, and the machine can lose its power.
#[derive(Debug)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, Content>>,
    durable: Mutex<Durable>,
    faults: Mutex<Faults>,
    /// One permit per write that may end; closed while writes are not held.
    gate: Mutex<Option<Arc<Semaphore>>>,
    /// Ends when the next file may be opened.
    next_open: Mutex<Option<oneshot::Receiver<()>>>,
    read_bytes: Arc<AtomicU64>,
}

/// What a loss of power leaves.
#[derive(Debug, Default)]
struct Durable {
    contents: BTreeMap<PathBuf, Vec<u8>>,
    names: BTreeSet<PathBuf>,
    /// Folders that were taken over: their own names are not in question.
    owned: BTreeSet<PathBuf>,
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
        let (files, durable, gate, next_open, read_bytes) = Default::default();
        Self { files, durable, faults: Mutex::new(faults), gate, next_open, read_bytes }
    }

    /// Makes room, or takes it away.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        lock(&self.faults).bytes_max = bytes_max;
    }

    /// Lets every write fail, or no longer.
    pub fn fail_writes(&self, error: Option<io::ErrorKind>) {
        lock(&self.faults).write_error = error;
    }

    /// Holds writes until [`Self::let_writes_go`], which lets all of them go however often they were held.
    pub fn hold_writes(&self) {
        lock(&self.gate).get_or_insert_with(|| Arc::new(Semaphore::new(0)));
    }

    pub fn let_writes_go(&self) {
        if let Some(gate) = lock(&self.gate).take() {
            gate.close();
        }
    }

    /// Holds the next call that opens a file until what this returns is dropped; other calls go on meanwhile.
    pub fn hold_next_open(&self) -> impl Sized + use<> {
        let (held, end) = oneshot::channel::<()>();
        *lock(&self.next_open) = Some(end);
        held
    }

    /// Writes of data that were started; probes do not count.
    pub fn writes(&self) -> u64 {
        lock(&self.faults).writes
    }

    /// Bytes that were read so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
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

    /// The disk as it is now, for the next life of a process that was killed: its machine goes on and forgets nothing.
    pub fn after_kill(&self) -> Self {
        let copy = Self::with_bytes_max(lock(&self.faults).bytes_max);
        for (path, content) in &*lock(&self.files) {
            lock(&copy.files).insert(path.clone(), Arc::new(Mutex::new(lock(content).clone())));
        }
        copy
    }

    /// The disk after a loss of power: what was not synced, bytes or names, is gone.
    pub fn after_power_loss(&self) -> Self {
        let copy = Self::with_bytes_max(lock(&self.faults).bytes_max);
        let durable = lock(&self.durable);
        for path in lock(&self.files).keys().filter(|path| durable.reaches(path)) {
            let content = durable.contents.get(path).cloned().unwrap_or_default();
            lock(&copy.files).insert(path.clone(), Arc::new(Mutex::new(content)));
        }
        copy
    }

    /// As [`Self::after_power_loss`], in place: whoever used the disk is gone.
    pub fn lose_power(&self) {
        let after = self.after_power_loss();
        *lock(&self.files) = std::mem::take(&mut *lock(&after.files));
    }

    async fn admit_write(&self, bytes: u64) -> io::Result<()> {
        let gate = lock(&self.gate).clone();
        if let Some(gate) = gate {
            // An error says that the gate was closed, which lets everybody through.
            let _ = gate.acquire().await;
        }
        let used = self.used_bytes();
        let faults = lock(&self.faults);
        match faults.write_error {
            Some(error) => Err(error.into()),
            None if used + bytes > faults.bytes_max => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }
}

impl Durable {
    /// Whether the names of a file and of its folders, up to one that was taken over, are synced.
    fn reaches(&self, file: &Path) -> bool {
        let unsynced = file.ancestors().find(|path| !self.names.contains(*path));
        unsynced.is_some_and(|path| self.owned.contains(path))
    }

    fn forget(&mut self, path: &Path) {
        self.contents.retain(|file, _| !file.starts_with(path));
        self.names.retain(|name| !name.starts_with(path));
    }
}

#[async_trait]
impl Disk for MemoryDisk {
    async fn take_over(&self, directory: &Path) -> io::Result<()> {
        lock(&self.durable).owned.insert(directory.to_owned());
        Ok(())
    }

    async fn probe(&self, _directory: &Path, content: Bytes) -> io::Result<()> {
        self.admit_write(content.len() as u64).await
    }

    async fn write_at(&self, file: &Path, offset: u64, pieces: Vec<Bytes>) -> io::Result<()> {
        lock(&self.faults).writes += 1;
        let bytes = pieces.concat();
        self.admit_write(bytes.len() as u64).await?;
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

    async fn sync(&self, file: &Path) -> io::Result<()> {
        let content = lock(&self.files).get(file).cloned().ok_or(io::ErrorKind::NotFound)?;
        let content = lock(&content).clone();
        lock(&self.durable).contents.insert(file.to_owned(), content);
        Ok(())
    }

    async fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let files = lock(&self.files);
        let names = files.keys().filter_map(|file| file.strip_prefix(folder).ok()?.components().next());
        lock(&self.durable).names.extend(names.map(|name| folder.join(name)));
        Ok(())
    }

    async fn replace(&self, file: &Path, content: Bytes, durable: bool) -> io::Result<()> {
        self.admit_write(content.len() as u64).await?;
        lock(&self.files).insert(file.to_owned(), Arc::new(Mutex::new(content.to_vec())));
        if durable {
            let mut durable = lock(&self.durable);
            durable.contents.insert(file.to_owned(), content.to_vec());
            durable.names.insert(file.to_owned());
        }
        Ok(())
    }

    async fn open(&self, file: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let held = lock(&self.next_open).take();
        if let Some(held) = held {
            // An error says that it is held no longer.
            let _ = held.await;
        }
        let content = lock(&self.files).get(file).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile { content, read_bytes: Arc::clone(&self.read_bytes) }))
    }

    async fn files(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let files = lock(&self.files);
        let below = files.iter().filter(|(path, _)| path.starts_with(folder));
        Ok(below.map(|(path, content)| (path.clone(), lock(content).len() as u64)).collect())
    }

    async fn remove_file(&self, file: &Path) -> io::Result<()> {
        lock(&self.files).remove(file);
        lock(&self.durable).forget(file);
        Ok(())
    }

    async fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        lock(&self.files).retain(|path, _| !path.starts_with(folder));
        lock(&self.durable).forget(folder);
        Ok(())
    }

    async fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        let bytes_max = lock(&self.faults).bytes_max;
        Ok(bytes_max.saturating_sub(self.used_bytes()))
    }
}

#[derive(Debug)]
struct MemoryFile {
    content: Content,
    read_bytes: Arc<AtomicU64>,
}

#[async_trait]
impl StoredFile for MemoryFile {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let content = lock(&self.content);
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = content.get(start..start + length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.read_bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(Bytes::copy_from_slice(bytes))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
