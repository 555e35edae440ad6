//! A disk that misbehaves on order: by a script of rules, or at random from a seed.
//!
//! It wraps any other disk. Everything it does is what real disks and kernels do: errors, no space, writes that end short,
//! syncs that are answered and not done, bits that turn, and calls that never come back.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{Disk, StoredFile};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An input or output error.
    Error,
    /// The file system is full.
    NoSpace,
    /// Half of the bytes are written, then an error comes.
    ShortWrite,
    /// The sync is answered and not done.
    LostSync,
    /// One bit of what is written or read is another.
    BitFlip,
    /// The call does not come back until [`FaultyDisk::let_hanging_go`].
    Hang,
}

/// The calls that can go wrong. Replacing a file counts as a write, a probe as all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Write,
    Sync,
    Read,
    /// Of a file or a folder.
    Remove,
    /// Of the files below a folder.
    List,
}

/// A line of the script: `times` matching calls go wrong after `skip` that do not.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Only files below this folder, which may be a disk or a shuffle.
    pub below: PathBuf,
    pub operation: Operation,
    pub skip: u32,
    pub times: u32,
    pub fault: Fault,
}

/// How often each fault comes, of 10 000 calls that it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Odds {
    pub error: u32,
    pub no_space: u32,
    pub short_write: u32,
    pub lost_sync: u32,
    pub bit_flip: u32,
    pub hang: u32,
}

#[derive(Debug)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    plan: Arc<Mutex<Plan>>,
    /// Grows each time that hanging calls are let go.
    released: watch::Sender<u64>,
}

#[derive(Debug)]
struct Plan {
    rules: Vec<Rule>,
    odds: Odds,
    random: SplitMix64,
    injected: u64,
}

impl FaultyDisk {
    /// Does what `inner` does until a rule says otherwise.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self::seeded(inner, 0, Odds::default())
    }

    /// Goes wrong at random; the same calls in the same order go wrong in the same way for the same seed.
    pub fn seeded(inner: Arc<dyn Disk>, seed: u64, odds: Odds) -> Self {
        let plan = Plan { rules: Vec::new(), odds, random: SplitMix64(seed), injected: 0 };
        Self { inner, plan: Arc::new(Mutex::new(plan)), released: watch::Sender::new(0) }
    }

    pub fn add(&self, rule: Rule) {
        lock(&self.plan).rules.push(rule);
    }

    /// Goes wrong at random from now on, as one that was made with this seed.
    pub fn start_over(&self, seed: u64, odds: Odds) {
        let mut plan = lock(&self.plan);
        plan.odds = odds;
        plan.random = SplitMix64(seed);
    }

    /// Every matching call goes wrong from now on, until [`Self::heal`].
    pub fn always(&self, below: impl Into<PathBuf>, operation: Operation, fault: Fault) {
        self.add(Rule { below: below.into(), operation, skip: 0, times: u32::MAX, fault });
    }

    /// Forgets all rules and odds and lets hanging calls go.
    pub fn heal(&self) {
        let mut plan = lock(&self.plan);
        plan.rules.clear();
        plan.odds = Odds::default();
        drop(plan);
        self.let_hanging_go();
    }

    /// Calls that hang now go on as if nothing had been.
    pub fn let_hanging_go(&self) {
        self.released.send_modify(|released| *released += 1);
    }

    /// Faults that came so far.
    pub fn injected(&self) -> u64 {
        lock(&self.plan).injected
    }

    /// The fault of this call, if it has one; one that hangs has been let go when this returns.
    async fn fault(&self, operation: Operation, file: &Path) -> Option<Fault> {
        let mut released = self.released.subscribe();
        let fault = lock(&self.plan).draw(operation, file)?;
        if fault != Fault::Hang {
            return Some(fault);
        }
        // An error says that the disk itself is gone: nobody waits for the call any more.
        let _ = released.changed().await;
        None
    }
}

#[async_trait]
impl Disk for FaultyDisk {
    async fn take_over(&self, directory: &Path) -> io::Result<()> {
        self.inner.take_over(directory).await
    }

    async fn probe(&self, directory: &Path, content: Bytes) -> io::Result<()> {
        for operation in [Operation::Write, Operation::Sync, Operation::Read] {
            match self.fault(operation, &directory.join("probe")).await {
                None | Some(Fault::LostSync) => {}
                Some(Fault::BitFlip) => return Err(io::Error::other("other bytes came back")),
                Some(fault) => return Err(error(fault)),
            }
        }
        self.inner.probe(directory, content).await
    }

    async fn write_at(&self, file: &Path, offset: u64, pieces: Vec<Bytes>) -> io::Result<()> {
        match self.fault(Operation::Write, file).await {
            None | Some(Fault::LostSync | Fault::Hang) => self.inner.write_at(file, offset, pieces).await,
            Some(Fault::BitFlip) => {
                let damaged = lock(&self.plan).turn_a_bit(pieces.concat());
                self.inner.write_at(file, offset, vec![damaged]).await
            }
            Some(Fault::ShortWrite) => {
                let bytes = Bytes::from(pieces.concat());
                self.inner.write_at(file, offset, vec![bytes.slice(..bytes.len() / 2)]).await?;
                Err(error(Fault::ShortWrite))
            }
            Some(fault @ (Fault::Error | Fault::NoSpace)) => Err(error(fault)),
        }
    }

    async fn sync(&self, file: &Path) -> io::Result<()> {
        match self.fault(Operation::Sync, file).await {
            None => self.inner.sync(file).await,
            Some(Fault::LostSync) => Ok(()),
            Some(fault) => Err(error(fault)),
        }
    }

    async fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        match self.fault(Operation::Sync, folder).await {
            None => self.inner.sync_folder(folder).await,
            Some(Fault::LostSync) => Ok(()),
            Some(fault) => Err(error(fault)),
        }
    }

    async fn replace(&self, file: &Path, content: Bytes, durable: bool) -> io::Result<()> {
        match self.fault(Operation::Write, file).await {
            None | Some(Fault::Hang) => self.inner.replace(file, content, durable).await,
            Some(Fault::LostSync) => self.inner.replace(file, content, false).await,
            Some(Fault::BitFlip) => {
                let damaged = lock(&self.plan).turn_a_bit(content.to_vec());
                self.inner.replace(file, damaged, durable).await
            }
            // Before the new one took the old one's place.
            Some(fault) => Err(error(fault)),
        }
    }

    async fn open(&self, file: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let inner = self.inner.open(file).await?;
        let plan = Arc::clone(&self.plan);
        Ok(Arc::new(FaultyFile { inner, file: file.to_owned(), plan, released: self.released.subscribe() }))
    }

    async fn files(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        match self.fault(Operation::List, folder).await {
            None => self.inner.files(folder).await,
            Some(fault) => Err(error(fault)),
        }
    }

    async fn remove_file(&self, file: &Path) -> io::Result<()> {
        match self.fault(Operation::Remove, file).await {
            None => self.inner.remove_file(file).await,
            Some(fault) => Err(error(fault)),
        }
    }

    async fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        match self.fault(Operation::Remove, folder).await {
            None => self.inner.remove_folder(folder).await,
            Some(fault) => Err(error(fault)),
        }
    }

    async fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.inner.free_bytes(directory).await
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn StoredFile>,
    file: PathBuf,
    plan: Arc<Mutex<Plan>>,
    released: watch::Receiver<u64>,
}

#[async_trait]
impl StoredFile for FaultyFile {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut released = self.released.clone();
        released.mark_unchanged();
        let fault = lock(&self.plan).draw(Operation::Read, &self.file);
        match fault {
            None | Some(Fault::LostSync) => self.inner.read_at(offset, length).await,
            Some(Fault::Hang) => {
                let _ = released.changed().await;
                self.inner.read_at(offset, length).await
            }
            Some(Fault::BitFlip) => {
                let read = self.inner.read_at(offset, length).await?;
                Ok(lock(&self.plan).turn_a_bit(read.to_vec()))
            }
            Some(fault) => Err(error(fault)),
        }
    }
}

impl Plan {
    fn draw(&mut self, operation: Operation, file: &Path) -> Option<Fault> {
        let fault = self.scripted(operation, file).or_else(|| self.by_chance(operation))?;
        self.injected += 1;
        Some(fault)
    }

    fn scripted(&mut self, operation: Operation, file: &Path) -> Option<Fault> {
        let fits =
            |rule: &&mut Rule| rule.operation == operation && rule.times > 0 && file.starts_with(&rule.below);
        let rule = self.rules.iter_mut().find(fits)?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times -= 1;
        Some(rule.fault)
    }

    fn by_chance(&mut self, operation: Operation) -> Option<Fault> {
        let odds = self.odds;
        let possible = match operation {
            Operation::Write => vec![
                (odds.error, Fault::Error),
                (odds.no_space, Fault::NoSpace),
                (odds.short_write, Fault::ShortWrite),
                (odds.bit_flip, Fault::BitFlip),
                (odds.hang, Fault::Hang),
            ],
            Operation::Sync => {
                vec![(odds.error, Fault::Error), (odds.lost_sync, Fault::LostSync), (odds.hang, Fault::Hang)]
            }
            Operation::Remove | Operation::List => vec![(odds.error, Fault::Error), (odds.hang, Fault::Hang)],
            Operation::Read => {
                vec![(odds.error, Fault::Error), (odds.bit_flip, Fault::BitFlip), (odds.hang, Fault::Hang)]
            }
        };
        let mut drawn = u32::try_from(self.random.next() % 10_000).expect("below 10 000");
        possible.into_iter().find_map(|(odds, fault)| {
            let hit = drawn < odds;
            drawn = if hit { 0 } else { drawn - odds };
            hit.then_some(fault)
        })
    }

    fn turn_a_bit(&mut self, mut bytes: Vec<u8>) -> Bytes {
        if !bytes.is_empty() {
            let at = self.random.next() % (bytes.len() as u64 * 8);
            bytes[usize::try_from(at / 8).expect("an index")] ^= 1 << (at % 8);
        }
        bytes.into()
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::NoSpace => io::ErrorKind::StorageFull.into(),
        _ => io::Error::other(format!("injected: {fault:?}")),
    }
}

/// Steele, Lea and Flood, OOPSLA 2014. Small enough that a seed means the same for ever.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
