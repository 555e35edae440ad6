//! A worker's disk: in memory, outlives its worker, takes time, and fails when told to: as a whole, or in single calls.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use penstock_shuffle_service::disk::{Disk, FaultyDisk, MemoryDisk, Odds, StoredFile};

use crate::{faults::Kind, random::Dice, record::Record, topology::Host};

#[derive(Debug)]
pub struct SimDisk {
    kept: Arc<MemoryDisk>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    host: Host,
    /// What is kept, as a worker sees it.
    faulty: FaultyDisk,
    record: Arc<Record>,
    dice: Dice,
    fails: AtomicBool,
    sickness: Mutex<Sickness>,
}

/// In which way single calls go wrong.
#[derive(Debug, Default)]
struct Sickness {
    kind: Option<Kind>,
    /// Calls that went wrong and were told.
    told: u64,
}

impl SimDisk {
    pub fn new(seed: u64, host: Host, record: Arc<Record>) -> Self {
        let kept = Arc::new(MemoryDisk::default());
        let faulty = FaultyDisk::new(Arc::clone(&kept) as Arc<dyn Disk>);
        let dice = Dice::new(seed, &host.name);
        let (fails, sickness) = (AtomicBool::new(false), Mutex::default());
        Self { kept, state: Arc::new(State { host, faulty, record, dice, fails, sickness }) }
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

    /// Now and then a call goes wrong in this way.
    pub fn sicken(&self, kind: Kind) {
        let odds = *self.state.dice.pick(&[300, 3_000]);
        let odds = match kind {
            Kind::CallFailed => Odds { error: odds, ..Odds::default() },
            Kind::CallOutOfSpace => Odds { no_space: odds, ..Odds::default() },
            Kind::CallWroteHalf => Odds { short_write: odds, ..Odds::default() },
            Kind::CallLostSync => Odds { lost_sync: odds, ..Odds::default() },
            Kind::CallTurnedBit => Odds { bit_flip: odds, ..Odds::default() },
            Kind::CallHung => Odds { hang: odds, ..Odds::default() },
            _ => return,
        };
        self.state.sickness().kind = Some(kind);
        self.state.faulty.start_over(self.state.dice.roll(u64::MAX), odds);
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

    /// Its worker is gone; so is what was not synced.
    pub fn lose_power(&self) {
        self.kept.lose_power();
    }

    pub fn mend(&self) {
        self.state.fails.store(false, Ordering::Relaxed);
        self.kept.fail_writes(None);
        self.kept.set_bytes_max(u64::MAX);
        self.kept.let_writes_go();
        self.state.faulty.heal();
    }

    pub fn file_count(&self) -> usize {
        self.kept.files().len()
    }
}

impl State {
    fn sickness(&self) -> MutexGuard<'_, Sickness> {
        self.sickness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a call, which takes time and may go wrong: that is told at once, also of one that hangs.
    async fn call<T>(&self, call: impl Future<Output = T> + Send) -> T {
        let pause = self.dice.roll(6);
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let mut call = std::pin::pin!(call);
        std::future::poll_fn(|cx| {
            let polled = call.as_mut().poll(cx);
            self.tell();
            polled
        })
        .await
    }

    fn tell(&self) {
        let injected = self.faulty.injected();
        let mut sickness = self.sickness();
        let news = injected - std::mem::replace(&mut sickness.told, injected);
        let Some(kind) = sickness.kind else { return };
        (0..news).for_each(|_| self.record.fault(kind, [&self.host], format_args!("{}", self.host)));
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
        self.state.faulty.take_over(directory).await
    }

    async fn write_at(&self, file: &Path, offset: u64, pieces: Vec<Bytes>) -> io::Result<()> {
        self.state.call(self.state.faulty.write_at(file, offset, pieces)).await
    }

    async fn open(&self, file: &Path) -> io::Result<Arc<dyn StoredFile>> {
        self.state.check()?;
        let file = self.state.call(self.state.faulty.open(file)).await?;
        Ok(Arc::new(SimFile { file, state: Arc::clone(&self.state) }))
    }

    async fn probe(&self, directory: &Path, content: Bytes) -> io::Result<()> {
        self.state.call(self.state.faulty.probe(directory, content)).await
    }

    async fn sync(&self, file: &Path) -> io::Result<()> {
        self.state.check()?;
        self.state.call(self.state.faulty.sync(file)).await
    }

    async fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.state.check()?;
        self.state.call(self.state.faulty.sync_folder(folder)).await
    }

    async fn replace(&self, file: &Path, content: Bytes, durable: bool) -> io::Result<()> {
        self.state.check()?;
        self.state.call(self.state.faulty.replace(file, content, durable)).await
    }

    async fn files(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        self.state.check()?;
        self.state.call(Disk::files(&self.state.faulty, folder)).await
    }

    async fn remove_file(&self, file: &Path) -> io::Result<()> {
        self.state.check()?;
        self.state.call(self.state.faulty.remove_file(file)).await
    }

    async fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.state.check()?;
        self.state.call(self.state.faulty.remove_folder(folder)).await
    }

    async fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.state.faulty.free_bytes(directory).await
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
        self.state.check()?;
        self.state.call(self.file.read_at(offset, length)).await
    }
}
