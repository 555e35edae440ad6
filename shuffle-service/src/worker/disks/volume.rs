//! One disk: its settings, its health, its room, and the calls on it.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_protocol::ids::WorkerId;

use super::{Choice, DiskState, health::Health, removal::Removals};
use crate::{
    disk::Disk,
    worker::config::{Config, DiskClass, DiskConfig},
};

#[derive(Debug)]
pub(in crate::worker) struct Volume {
    /// This worker's own folder on the disk.
    pub folder: PathBuf,
    pub class: DiskClass,
    pub removals: Removals,
    status: Mutex<Status>,
}

#[derive(Debug)]
struct Status {
    health: Health,
    quota_bytes: u64,
    reserve_bytes: u64,
    taken_over: bool,
    /// As measured last, less what was written since.
    free_bytes: u64,
    /// Of this worker, as counted last, with what was written since.
    used_bytes: u64,
    queued_bytes: u64,
}

/// A disk as it is shown and reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskReport {
    pub path: String,
    pub class: DiskClass,
    pub state: DiskState,
    pub used_bytes: u64,
    /// What may still be written, reserve and quota considered.
    pub room_bytes: u64,
    pub queued_bytes: u64,
    pub errors: u32,
}

impl Volume {
    pub fn new(config: &Config, worker: &WorkerId, disk: &DiskConfig) -> Self {
        let status = Status {
            health: Health::new(config.disk_errors_max),
            quota_bytes: quota_bytes(disk),
            reserve_bytes: reserve_bytes(config, disk),
            taken_over: false,
            free_bytes: 0,
            used_bytes: 0,
            queued_bytes: 0,
        };
        let folder = disk.path.join(worker.as_str());
        Self { folder, class: disk.class, removals: Removals::default(), status: Mutex::new(status) }
    }

    /// Takes other limits of the same disk.
    pub fn configure(&self, config: &Config, disk: &DiskConfig) {
        let mut status = self.status();
        status.health.set_errors_max(config.disk_errors_max);
        status.quota_bytes = quota_bytes(disk);
        status.reserve_bytes = reserve_bytes(config, disk);
    }

    pub async fn take_over(&self, disk: &dyn Disk, hang: Duration) -> io::Result<()> {
        let taken = tokio::time::timeout(hang, disk.take_over(&self.folder)).await;
        self.took_over(taken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
    }

    /// The same however long it takes, when that keeps nobody waiting.
    pub async fn take_over_late(&self, disk: &dyn Disk) -> io::Result<()> {
        self.took_over(disk.take_over(&self.folder).await)
    }

    fn took_over(&self, taken: io::Result<()>) -> io::Result<()> {
        let mut status = self.status();
        status.taken_over = taken.is_ok();
        if taken.is_err() {
            status.health.lost();
        }
        taken
    }

    pub fn is_taken_over(&self) -> bool {
        self.status().taken_over
    }

    pub fn state(&self) -> DiskState {
        let status = self.status();
        status.health.state(self.room(&status) > 0)
    }

    /// Whether `bytes` may be written here.
    pub fn takes(&self, bytes: u64) -> bool {
        let status = self.status();
        let room = self.room(&status);
        status.health.state(room > 0) == DiskState::Healthy && room >= bytes
    }

    pub fn choice(&self) -> Choice {
        let DiskReport { class, state, room_bytes, queued_bytes, .. } = self.report();
        Choice { class, state, room_bytes, queued_bytes }
    }

    pub fn report(&self) -> DiskReport {
        let status = self.status();
        let room_bytes = self.room(&status);
        DiskReport {
            path: self.folder.display().to_string(),
            class: self.class,
            state: status.health.state(room_bytes > 0),
            used_bytes: status.used_bytes,
            room_bytes,
            queued_bytes: status.queued_bytes,
            errors: status.health.errors(),
        }
    }

    /// Counts bytes as on their way here until the returned value is dropped.
    pub fn queue(self: &Arc<Self>, bytes: u64) -> Queued {
        self.status().queued_bytes += bytes;
        Queued { volume: Arc::clone(self), bytes }
    }

    pub fn wrote(&self, bytes: u64) {
        let mut status = self.status();
        status.free_bytes = status.free_bytes.saturating_sub(bytes);
        status.used_bytes += bytes;
    }

    /// Takes what was measured: free bytes of the disk, and bytes of this worker on it.
    pub fn measured(&self, free_bytes: u64, used_bytes: u64) {
        let mut status = self.status();
        (status.free_bytes, status.used_bytes) = (free_bytes, used_bytes);
    }

    /// Whether it does what it is asked, full or not.
    pub fn is_usable(&self) -> bool {
        matches!(self.state(), DiskState::Healthy | DiskState::Full)
    }

    /// Bytes that have to go for this worker to use no more than `to_percent` of what it may use here; none while it uses
    /// less than `from_percent`.
    pub fn excess_bytes(&self, from_percent: u8, to_percent: u8) -> u64 {
        let report = self.report();
        let whole = u128::from(report.used_bytes) + u128::from(report.room_bytes);
        let mark = |percent: u8| u64::try_from(whole * u128::from(percent) / 100).unwrap_or(u64::MAX);
        if report.used_bytes <= mark(from_percent) { 0 } else { report.used_bytes - mark(to_percent) }
    }

    pub fn probe_succeeded(&self) {
        self.status().health.probe_succeeded();
    }

    /// Waits for a call on this disk. One that takes longer than `hang` makes the disk hung until it ends; one that fails
    /// counts as an error, unless the disk is only full.
    pub async fn watched<T>(
        &self,
        hang: Duration,
        call: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let outcome = self.awaited(hang, call).await;
        if let Err(error) = &outcome {
            self.call_failed(error);
        }
        outcome
    }

    /// The same, but that it fails says nothing new.
    pub async fn awaited<T>(
        &self,
        hang: Duration,
        call: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let mut call = std::pin::pin!(call);
        match tokio::time::timeout(hang, &mut call).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let _overdue = Overdue::new(self);
                call.await
            }
        }
    }

    /// Takes note of a call that failed.
    pub fn call_failed(&self, error: &io::Error) {
        let mut status = self.status();
        match error.kind() {
            // Until the disk is measured again.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => status.free_bytes = 0,
            // A file that was released in the meantime, or a folder to which a file came while it was deleted.
            io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty => {}
            _ => status.health.call_failed(),
        }
    }

    fn room(&self, status: &Status) -> u64 {
        let free = status.free_bytes.saturating_sub(status.reserve_bytes);
        let quota = status.quota_bytes.saturating_sub(status.used_bytes);
        free.min(quota).saturating_sub(status.queued_bytes)
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn quota_bytes(disk: &DiskConfig) -> u64 {
    match disk.quota.as_u64() {
        0 => u64::MAX,
        quota => quota,
    }
}

fn reserve_bytes(config: &Config, disk: &DiskConfig) -> u64 {
    disk.reserve.unwrap_or(config.disk_reserve_bytes).as_u64()
}

/// Bytes on their way to a disk.
#[derive(Debug)]
pub(in crate::worker) struct Queued {
    pub volume: Arc<Volume>,
    bytes: u64,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.volume.status().queued_bytes -= self.bytes;
    }
}

/// A call that is over its time.
struct Overdue<'a>(&'a Volume);

impl<'a> Overdue<'a> {
    fn new(volume: &'a Volume) -> Self {
        tracing::warn!(disk = %volume.folder.display(), "a disk does not answer: nothing new goes there");
        volume.status().health.call_overdue();
        Self(volume)
    }
}

impl Drop for Overdue<'_> {
    fn drop(&mut self) {
        self.0.status().health.overdue_call_ended();
    }
}
