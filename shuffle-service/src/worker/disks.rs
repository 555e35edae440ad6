//! A worker's local disks: where new data goes, and how each disk does.
//!
//! In: bytes to place, outcomes of reads, writes and probes. Out: a disk with room, or none. A disk that is full, fails or
//! hangs gets nothing new and goes on being read. Not here: files and their names, other tiers.

mod choice;
mod health;
mod monitor;
mod removal;
mod volume;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use penstock_common::lifecycle::{OnFailure, Tasks};
use penstock_protocol::ids::WorkerId;
use tokio::sync::oneshot;

use self::{choice::Choice, removal::Removal};
pub(crate) use self::{health::DiskState, volume::DiskReport};
pub(super) use self::{
    monitor::Monitor,
    volume::{Queued, Volume},
};
use super::config::Config;
use crate::disk::Disk;

#[derive(Debug)]
pub(super) struct Disks {
    pub disk: Arc<dyn Disk>,
    pub volumes: Vec<Arc<Volume>>,
    hang_ms: AtomicU64,
    /// Owns the calls that nobody waits for any more.
    tasks: Tasks,
}

/// A call did not end in time; it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StillRunning;

impl Disks {
    pub fn new(config: &Config, worker: &WorkerId, disk: Arc<dyn Disk>, tasks: Tasks) -> Self {
        let volume = |settings| Arc::new(Volume::new(config, worker, settings));
        let volumes = config.disks().iter().map(volume).collect();
        Self { disk, volumes, hang_ms: AtomicU64::new(config.disk_hang_ms), tasks }
    }

    /// A call that takes longer marks its disk as hung.
    pub fn hang(&self) -> Duration {
        Duration::from_millis(self.hang_ms.load(Ordering::Relaxed))
    }

    /// Takes other limits; which disks there are stays.
    pub fn configure(&self, config: &Config) {
        self.hang_ms.store(config.disk_hang_ms, Ordering::Relaxed);
        for (volume, disk) in self.volumes.iter().zip(config.disks()) {
            volume.configure(config, &disk);
        }
    }

    /// Chooses a disk for `bytes`; `last` is the one that already has data of the same location, which is best continued.
    pub fn choose(&self, last: Option<usize>, bytes: u64) -> Option<(usize, Queued)> {
        let continued = last.filter(|last| self.volumes[*last].takes(bytes));
        let chosen = continued.or_else(|| {
            let choices: Vec<_> = self.volumes.iter().map(|volume| volume.choice()).collect();
            choice::choose(&choices, bytes)
        })?;
        Some((chosen, self.volumes[chosen].queue(bytes)))
    }

    /// Says what is wrong if no disk works. Full ones work: what they hold can be read, and room comes back.
    pub fn all_unusable(&self) -> Option<String> {
        let reports = self.reports();
        let unusable = |report: &DiskReport| matches!(report.state, DiskState::Failed | DiskState::Hung);
        if !reports.iter().all(unusable) {
            return None;
        }
        let shown = reports.iter().map(|report| format!("{} is {}", report.path, report.state));
        Some(shown.collect::<Vec<_>>().join(", "))
    }

    pub fn reports(&self) -> Vec<DiskReport> {
        self.volumes.iter().map(|volume| volume.report()).collect()
    }

    /// Carries a call to its end whatever happens, and waits for it as long as a healthy disk may take.
    pub async fn carry<T: Send + 'static>(
        &self,
        name: &'static str,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, StillRunning> {
        self.carry_within(self.hang(), name, call).await
    }

    /// The same, and waits for at most `patience`.
    pub async fn carry_within<T: Send + 'static>(
        &self,
        patience: Duration,
        name: &'static str,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, StillRunning> {
        let (ended, end) = oneshot::channel();
        self.tasks.spawn(name, OnFailure::Log, async move {
            // Nobody may be waiting any more.
            let _ = ended.send(call.await);
            Ok::<_, std::convert::Infallible>(())
        });
        match tokio::time::timeout(patience, end).await {
            Ok(Ok(outcome)) => Ok(outcome),
            // The call panicked, which its owner has logged.
            Ok(Err(_)) | Err(_) => Err(StillRunning),
        }
    }

    /// A call on one disk for which others wait, at most for `patience`: one that hangs is asked nothing more until it answers.
    /// The call goes on.
    pub async fn ask<T: Send + 'static>(
        &self,
        disk: usize,
        name: &'static str,
        patience: Duration,
        call: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let (volume, hang) = (Arc::clone(&self.volumes[disk]), self.hang());
        if volume.state() == DiskState::Hung {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // By then it is known to hang.
        let patience = patience + hang / 10;
        let call = self.carry_within(patience, name, async move { volume.watched(hang, call).await });
        call.await.unwrap_or_else(|StillRunning| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Deletes a folder of this name on every disk. One that hangs or fails is not waited for: it is asked again until it
    /// does it.
    pub async fn remove_folders(&self, folder: PathBuf) {
        // What is found on one that comes later is looked at then.
        let there = self.volumes.iter().filter(|volume| volume.is_taken_over());
        let removals = there.map(|volume| {
            let folder = volume.folder.join(&folder);
            let removal = Removal { volume: Arc::clone(volume), disk: Arc::clone(&self.disk), folder };
            self.carry("delete", removal.run(self.hang(), self.tasks.stop_token()))
        });
        futures::future::join_all(removals).await;
    }

    /// Makes the folders this worker's own. A disk that fails is left to the monitor; one that another worker holds is a
    /// mistake of the configuration, and so is a worker without any disk.
    pub async fn take_over(&self) -> Result<(), (PathBuf, io::Error)> {
        let mut refused = None;
        for volume in &self.volumes {
            let taken = volume.take_over(self.disk.as_ref(), self.hang()).await;
            if let Err(error) = taken {
                let folder = volume.folder.clone();
                if error.kind() == io::ErrorKind::ResourceBusy {
                    return Err((folder, error));
                }
                tracing::warn!(folder = %folder.display(), %error, "a disk cannot be used");
                refused = Some((folder, error));
            }
        }
        match refused {
            Some(refused) if !self.volumes.iter().any(|volume| volume.is_taken_over()) => Err(refused),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
