//! One memory budget for everything that a worker holds: frames coming in and data not on disk yet.
//!
//! Pushes wait for room in the order in which they came. Room comes from flushes, releases and refused frames; if the
//! disks take nothing, waiting pushes are refused instead of waiting for ever (invariant 27).
//!
//! The configured limit is about the resident memory of the process: what an idle one takes is not handed out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, Semaphore};

use super::config::Config;

/// The idle process, the pages of its code that stay mapped, and the buffers of its connections.
const BASE_BYTES: u64 = 64 << 20;
/// A small limit gives up no more than one part in so many to it.
const BASE_PART_MIN: u64 = 2;

#[derive(Debug)]
pub(super) struct Budget {
    room: Semaphore,
    bytes_max: u64,
    flush_from: u64,
    flush_to: u64,
    waiting: AtomicUsize,
    /// Tells the flusher to look at the numbers.
    pressure: Notify,
    /// Tells those who wait that no room will come.
    exhausted: Notify,
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
        let limit = config.memory_bytes_max.as_u64();
        let bytes_max = limit - BASE_BYTES.min(limit / BASE_PART_MIN);
        let percent = |percent: u8| bytes_max / 100 * u64::from(percent);
        Arc::new(Self {
            room: Semaphore::new(usize::try_from(bytes_max).unwrap_or(usize::MAX)),
            bytes_max,
            flush_from: percent(config.flush_from_percent),
            flush_to: percent(config.flush_to_percent),
            waiting: AtomicUsize::new(0),
            pressure: Notify::new(),
            exhausted: Notify::new(),
        })
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub fn used(&self) -> u64 {
        self.bytes_max - self.room.available_permits() as u64
    }

    /// Room for `bytes`, which must not be more than the whole budget. Waits at most for `patience`.
    pub async fn take(self: &Arc<Self>, bytes: usize, patience: Duration) -> Result<Charge, NoRoom> {
        let wanted = u32::try_from(bytes).map_err(|_| NoRoom::Exhausted)?;
        if let Ok(permit) = self.room.try_acquire_many(wanted) {
            permit.forget();
            self.check_pressure();
            return Ok(Charge { budget: Arc::clone(self), bytes: u64::from(wanted) });
        }
        let exhausted = self.exhausted.notified();
        tokio::pin!(exhausted);
        exhausted.as_mut().enable();
        let _waiting = Waiting::new(self);
        self.pressure.notify_one();
        tokio::select! {
            biased;
            permit = self.room.acquire_many(wanted) => {
                permit.map_err(|_| NoRoom::Exhausted)?.forget();
                Ok(Charge { budget: Arc::clone(self), bytes: u64::from(wanted) })
            }
            () = exhausted => Err(NoRoom::Exhausted),
            () = tokio::time::sleep(patience) => Err(NoRoom::Yet),
        }
    }

    /// Whether pushes wait for room now.
    pub fn is_paused(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
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
        if used > self.flush_from || waiting { used.saturating_sub(self.flush_to).max(1) } else { 0 }
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
}

impl Charge {
    pub fn none(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: Arc::clone(&self.budget), bytes }
    }

    pub fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget
                .room
                .add_permits(usize::try_from(self.bytes).expect("taken from a semaphore of usize"));
        }
    }
}

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

    #[tokio::test]
    async fn every_byte_comes_back_whichever_way_a_charge_goes() {
        let budget = budget();
        let mut first = budget.take(600, PATIENCE).await.expect("room");
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
        let held = budget.take(900, PATIENCE).await.expect("room");
        assert_eq!(budget.take(200, PATIENCE).await.expect_err("full"), NoRoom::Yet);
        let (taken, ()) = tokio::join!(budget.take(200, PATIENCE), async { drop(held) });
        assert!(taken.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_refused_when_the_disks_take_nothing() {
        let budget = budget();
        let _held = budget.take(900, PATIENCE).await.expect("room");
        let (taken, ()) = tokio::join!(budget.take(200, PATIENCE), async { budget.refuse_waiting() });
        assert_eq!(taken.expect_err("refused"), NoRoom::Exhausted);
    }

    #[tokio::test]
    async fn flushing_starts_at_the_upper_mark_and_aims_at_the_lower_one() {
        let budget = budget();
        let held = budget.take(700, PATIENCE).await.expect("room");
        assert_eq!(budget.flush_goal(), 0);
        let _more = budget.take(50, PATIENCE).await.expect("room");
        assert_eq!(budget.flush_goal(), 250);
        drop(held);
        assert_eq!(budget.flush_goal(), 0);
    }
}
