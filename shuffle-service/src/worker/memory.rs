//! One memory budget for everything that a worker holds: frames coming in and data not on disk yet.
//!
//! Pushes wait for room in the order in which they came. Room comes from flushes, releases and refused frames; if the
//! disks take nothing, waiting pushes are refused instead of waiting for ever.
//!
//! Clients get at most a share, so that second copies from other workers always find room, at the latest when what is
//! stored has been flushed: storing a second copy waits for nobody. So two workers that replicate to each other cannot
//! wait for each other (invariant 27).
//!
//! The configured limit is about the resident memory of the process: what an idle one takes is not handed out.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio::sync::{AcquireError, Notify, Semaphore};

use super::config::Config;

/// The idle process, the pages of its code that stay mapped, and the buffers of its connections.
const BASE_BYTES: u64 = 64 << 20;
/// A small limit gives up no more than one part in so many to it.
const BASE_PART_MIN: u64 = 2;
/// One part in so many of the memory is kept from clients. The longest frame is as large.
pub(super) const REPLICAS_PART: u64 = 4;
/// Memory comes free with the end of a write: one part in so many, within these bounds, is written at once, so that pushes go
/// on while data moves to disk.
const WRITE_PART: u64 = 32;
const WRITE_BYTES_MIN: u64 = 1 << 20;
const WRITE_BYTES_MAX: u64 = 8 << 20;

/// Whom memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Clients,
    /// Other workers' second copies.
    Replicas,
}

#[derive(Debug)]
pub(super) struct Budget {
    room: Semaphore,
    /// What clients may still take of the room; always taken first.
    clients: Semaphore,
    bytes_max: u64,
    flush_from: AtomicU64,
    flush_to: AtomicU64,
    waiting: AtomicUsize,
    /// Tells the flusher to look at the numbers.
    pressure: Notify,
    /// Tells those who wait that no room will come.
    exhausted: Notify,
}

/// What a worker does about its memory; each includes what stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MemoryState {
    Normal,
    /// Data moves to disk.
    Flushing,
    /// Users that push the most are asked to push less at a time.
    Short,
    /// Pushes wait; second copies from other workers still find room. Ends by itself as data reaches the disks.
    Paused,
}

impl fmt::Display for MemoryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Flushing => "flushing",
            Self::Short => "short",
            Self::Paused => "paused",
        })
    }
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Not yet; ask again.
    Yet,
    /// The disks take nothing.
    Exhausted,
}

impl Budget {
    pub fn new(config: &Config) -> Arc<Self> {
        let limit = config.memory_bytes();
        let bytes_max = limit - BASE_BYTES.min(limit / BASE_PART_MIN);
        let budget = Self {
            room: Semaphore::new(usize::try_from(bytes_max).unwrap_or(usize::MAX)),
            clients: Semaphore::new(
                usize::try_from(bytes_max - bytes_max / REPLICAS_PART).unwrap_or(usize::MAX),
            ),
            bytes_max,
            flush_from: AtomicU64::new(0),
            flush_to: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            pressure: Notify::new(),
            exhausted: Notify::new(),
        };
        budget.configure(config);
        Arc::new(budget)
    }

    /// Takes other marks between which data moves to disk.
    pub fn configure(&self, config: &Config) {
        let (from_percent, to_percent) = config.memory_marks();
        let mark = |percent: u8| self.bytes_max / 100 * u64::from(percent);
        self.flush_from.store(mark(from_percent), Ordering::Relaxed);
        self.flush_to.store(mark(to_percent), Ordering::Relaxed);
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// What one location writes at once, about.
    pub fn write_bytes(&self) -> u64 {
        (self.bytes_max / WRITE_PART).clamp(WRITE_BYTES_MIN, WRITE_BYTES_MAX)
    }

    pub fn used(&self) -> u64 {
        self.bytes_max - self.room.available_permits() as u64
    }

    /// Room for `bytes`, which must not be more than the whole share. Waits at most for `patience`.
    pub async fn take(
        self: &Arc<Self>,
        share: Share,
        bytes: usize,
        patience: Duration,
    ) -> Result<Charge, NoRoom> {
        if let Some(taken) = self.take_now(share, bytes) {
            return taken;
        }
        tokio::select! {
            biased;
            taken = self.wait(share, bytes) => taken,
            () = tokio::time::sleep(patience) => Err(NoRoom::Yet),
        }
    }

    fn take_now(self: &Arc<Self>, share: Share, bytes: usize) -> Option<Result<Charge, NoRoom>> {
        let taken = self.acquire(share, bytes).now_or_never();
        self.check_pressure();
        taken
    }

    /// Waits until there is room, or until there will be none.
    async fn wait(self: &Arc<Self>, share: Share, bytes: usize) -> Result<Charge, NoRoom> {
        let exhausted = self.exhausted.notified();
        tokio::pin!(exhausted);
        exhausted.as_mut().enable();
        let _waiting = Waiting::new(self);
        self.pressure.notify_one();
        tokio::select! {
            biased;
            taken = self.acquire(share, bytes) => taken,
            () = exhausted => Err(NoRoom::Exhausted),
        }
    }

    pub fn state(&self) -> MemoryState {
        let used = self.used();
        // Half of the way from the mark where flushing begins to where clients get nothing more.
        let clients_max = self.bytes_max - self.bytes_max / REPLICAS_PART;
        let flush_from = self.flush_from.load(Ordering::Relaxed);
        let short_from = flush_from.midpoint(clients_max);
        match () {
            () if self.waiting.load(Ordering::Relaxed) > 0 => MemoryState::Paused,
            () if used >= short_from => MemoryState::Short,
            () if used > flush_from => MemoryState::Flushing,
            () => MemoryState::Normal,
        }
    }

    async fn acquire(self: &Arc<Self>, share: Share, bytes: usize) -> Result<Charge, NoRoom> {
        let bytes = u32::try_from(bytes).map_err(|_| NoRoom::Exhausted)?;
        let closed = |_: AcquireError| NoRoom::Exhausted;
        let of_clients = match share {
            Share::Clients => Some(self.clients.acquire_many(bytes).await.map_err(closed)?),
            Share::Replicas => None,
        };
        self.room.acquire_many(bytes).await.map_err(closed)?.forget();
        let clients = of_clients.map_or(0, |permit| {
            permit.forget();
            bytes.into()
        });
        Ok(Charge { budget: Arc::clone(self), bytes: bytes.into(), clients })
    }

    /// Wakes the flusher if there is something for it to do.
    pub fn check_pressure(&self) {
        if self.flush_goal() > 0 {
            self.pressure.notify_one();
        }
    }

    pub async fn pressure(&self) {
        self.pressure.notified().await;
    }

    /// Bytes that should move to disk now.
    pub fn flush_goal(&self) -> u64 {
        let used = self.used();
        let waiting = self.waiting.load(Ordering::Relaxed) > 0;
        let (from, to) = (self.flush_from.load(Ordering::Relaxed), self.flush_to.load(Ordering::Relaxed));
        if used > from || waiting { used.saturating_sub(to).max(1) } else { 0 }
    }

    /// Refuses everyone who waits now.
    pub fn refuse_waiting(&self) {
        self.exhausted.notify_waiters();
    }
}

struct Waiting<'a>(&'a Budget);

impl<'a> Waiting<'a> {
    fn new(budget: &'a Budget) -> Self {
        budget.waiting.fetch_add(1, Ordering::Relaxed);
        Self(budget)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes of the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
    /// How many of these bytes are of the clients' share.
    clients: u64,
}

impl Charge {
    pub fn none(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0, clients: 0 }
    }

    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        let clients = bytes.min(self.clients);
        self.bytes -= bytes;
        self.clients -= clients;
        Self { budget: Arc::clone(&self.budget), bytes, clients }
    }

    pub fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
        self.clients += std::mem::take(&mut other.clients);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        for (semaphore, bytes) in [(&self.budget.room, self.bytes), (&self.budget.clients, self.clients)] {
            if bytes > 0 {
                semaphore.add_permits(usize::try_from(bytes).expect("taken from a semaphore of usize"));
            }
        }
    }
}

#[cfg(test)]
mod models;

#[cfg(test)]
mod tests {
    use penstock_common::bytes::ByteSize;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// Of 1000 bytes.
    fn budget() -> Arc<Budget> {
        Budget::new(&Config { memory_bytes_max: ByteSize(2000), ..Config::default() })
    }

    #[test]
    fn what_an_idle_process_takes_is_not_handed_out() {
        let handed_out =
            |memory| Budget::new(&Config { memory_bytes_max: memory, ..Config::default() }).bytes_max();
        assert_eq!(handed_out(ByteSize::mib(512)), 448 << 20);
        assert_eq!(handed_out(ByteSize::mib(32)), 16 << 20);
    }

    // Invariant 27.
    #[tokio::test]
    async fn every_byte_comes_back_whichever_way_a_charge_goes() {
        let budget = budget();
        let mut first = budget.take(Share::Clients, 600, PATIENCE).await.expect("room");
        let mut second = Charge::none(&budget);
        second.merge(first.split(200));
        assert_eq!(budget.used(), 600);
        drop(first);
        assert_eq!(budget.used(), 200);
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_waits_until_there_is_room() {
        let budget = budget();
        let held = budget.take(Share::Clients, 700, PATIENCE).await.expect("room");
        assert_eq!(budget.take(Share::Clients, 200, PATIENCE).await.expect_err("full"), NoRoom::Yet);
        let (taken, ()) = tokio::join!(budget.take(Share::Clients, 200, PATIENCE), async { drop(held) });
        assert!(taken.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_refused_when_the_disks_take_nothing() {
        let budget = budget();
        let _held = budget.take(Share::Clients, 700, PATIENCE).await.expect("room");
        let (taken, ()) =
            tokio::join!(budget.take(Share::Clients, 200, PATIENCE), async { budget.refuse_waiting() });
        assert_eq!(taken.expect_err("refused"), NoRoom::Exhausted);
    }

    #[tokio::test]
    async fn flushing_starts_at_the_upper_mark_and_aims_at_the_lower_one() {
        let budget = budget();
        let held = budget.take(Share::Clients, 700, PATIENCE).await.expect("room");
        assert_eq!(budget.flush_goal(), 0);
        let _more = budget.take(Share::Clients, 50, PATIENCE).await.expect("room");
        assert_eq!(budget.flush_goal(), 250);
        drop(held);
        assert_eq!(budget.flush_goal(), 0);
    }

    #[tokio::test]
    async fn other_marks_count_at_once() {
        let budget = budget();
        let _held = budget.take(Share::Clients, 600, PATIENCE).await.expect("room");
        assert_eq!(budget.flush_goal(), 0);
        budget.configure(&Config { flush_from_percent: 40, flush_to_percent: 10, ..Config::default() });
        assert_eq!(budget.flush_goal(), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn the_state_tells_what_is_done_about_memory() {
        let budget = budget();
        let mut held = Charge::none(&budget);
        for (bytes, state) in
            [(700, MemoryState::Normal), (24, MemoryState::Flushing), (1, MemoryState::Short)]
        {
            held.merge(budget.take(Share::Clients, bytes, PATIENCE).await.expect("room"));
            assert_eq!(budget.state(), state, "{} bytes in use", budget.used());
        }
        let waiting = budget.take(Share::Clients, 100, PATIENCE);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(budget.state(), MemoryState::Paused);
        drop(held);
        waiting.await.expect("room");
        assert_eq!(budget.state(), MemoryState::Normal);
    }

    // Invariant 27: clients leave room for second copies, and get all of theirs back.
    #[tokio::test(start_paused = true)]
    async fn second_copies_find_room_when_clients_have_taken_all_of_theirs() {
        let budget = budget();
        let mut held = budget.take(Share::Clients, 750, PATIENCE).await.expect("room");
        assert_eq!(budget.take(Share::Clients, 1, PATIENCE).await.expect_err("full"), NoRoom::Yet);
        let copy = budget.take(Share::Replicas, 250, PATIENCE).await.expect("kept from clients");
        held.merge(copy);
        drop(held.split(800));
        let again = budget.take(Share::Clients, 750, PATIENCE).await.expect("room again");
        assert_eq!(budget.used(), 950);
        drop((again, held));
        assert_eq!(budget.used(), 0);
    }
}
