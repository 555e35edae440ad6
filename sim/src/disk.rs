//! A worker's disk: in memory, outlives its worker, takes time, and fails when told to.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use penstock_shuffle_service::disk::{Disk, MemoryDisk, StoredFile};

use crate::random::Dice;

#[derive(Debug)]
pub struct SimDisk {
    kept: MemoryDisk,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    fails: AtomicBool,
}

impl SimDisk {
    pub fn new(seed: u64, name: &str) -> Self {
        let state = State { dice: Dice::new(seed, name), fails: AtomicBool::new(false) };
        Self { kept: MemoryDisk::default(), state: Arc::new(state) }
    }

    /// Everything that is asked of it fails.
    pub fn fail(&self) {
        self.state.fails.store(true, Ordering::Relaxed);
        self.kept.fail_writes(Some(io::ErrorKind::Other));
    }

    pub fn fill(&self) {
        self.kept.set_bytes_max(self.kept.used_bytes());
    }

    /// Writes do not end.
    pub fn stall(&self) {
        self.kept.hold_writes();
    }

    /// Flips a bit in the middle of some file; whether there was one.
    pub fn damage(&self) -> bool {
        let files = self.kept.files();
        if files.is_empty() {
            return false;
        }
        let file = self.state.dice.pick(&files);
        self.kept.damage(file, |bytes| {
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
        });
        true
    }

    pub fn mend(&self) {
        self.state.fails.store(false, Ordering::Relaxed);
        self.kept.fail_writes(None);
        self.kept.set_bytes_max(u64::MAX);
        self.kept.let_writes_go();
    }

    pub fn file_count(&self) -> usize {
        self.kept.files().len()
    }
}

impl State {
    async fn take_time(&self) {
        let pause = self.dice.roll(6);
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            Err(io::Error::other("the disk does not answer"))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl Disk for SimDisk {
    async fn take_over(&self, directory: &Path) -> io::Result<()> {
        self.kept.take_over(directory).await
    }

    async fn write_at(&self, file: &Path, offset: u64, pieces: Vec<Bytes>) -> io::Result<()> {
        self.state.take_time().await;
        self.kept.write_at(file, offset, pieces).await
    }

    async fn open(&self, file: &Path) -> io::Result<Arc<dyn StoredFile>> {
        self.state.take_time().await;
        self.state.check()?;
        let file = self.kept.open(file).await?;
        Ok(Arc::new(SimFile { file, state: Arc::clone(&self.state) }))
    }

    async fn probe(&self, directory: &Path, content: Bytes) -> io::Result<()> {
        self.state.take_time().await;
        self.kept.probe(directory, content).await
    }

    async fn sync(&self, file: &Path) -> io::Result<()> {
        self.state.take_time().await;
        self.state.check()?;
        self.kept.sync(file).await
    }

    async fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.state.take_time().await;
        self.state.check()?;
        self.kept.sync_folder(folder).await
    }

    async fn replace(&self, file: &Path, content: Bytes, durable: bool) -> io::Result<()> {
        self.state.take_time().await;
        self.state.check()?;
        self.kept.replace(file, content, durable).await
    }

    async fn files(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        self.state.take_time().await;
        Disk::files(&self.kept, folder).await
    }

    async fn remove_file(&self, file: &Path) -> io::Result<()> {
        self.state.take_time().await;
        self.kept.remove_file(file).await
    }

    async fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.state.take_time().await;
        self.kept.remove_folder(folder).await
    }

    async fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.kept.free_bytes(directory).await
    }
}

#[derive(Debug)]
struct SimFile {
    file: Arc<dyn StoredFile>,
    state: Arc<State>,
}

#[async_trait]
impl StoredFile for SimFile {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.state.take_time().await;
        self.state.check()?;
        self.file.read_at(offset, length).await
    }
}
