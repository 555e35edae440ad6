//! Deletes released folders from a disk, however often that takes.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_common::{lifecycle::CancellationToken, retry::Backoff};
use tokio::sync::Semaphore;

use super::Volume;
use crate::disk::Disk;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// More than a day. What lies on a disk that is away for longer goes when the worker starts again.
const TRIES_MAX: u32 = 3000;
/// A disk that hangs gets no more of them, each of which takes a thread.
const CALLS_AT_ONCE: usize = 8;
/// Folders of one disk; each has a task.
const WAITING_MAX: usize = 10_000;

/// The deletions on one disk.
#[derive(Debug)]
pub(in crate::worker) struct Removals {
    turns: Semaphore,
    /// Folders that a call will be made for.
    waiting: Mutex<BTreeSet<PathBuf>>,
}

impl Default for Removals {
    fn default() -> Self {
        Self { turns: Semaphore::new(CALLS_AT_ONCE), waiting: Mutex::default() }
    }
}

impl Removals {
    /// Whether a call has to be made: not if one waits for this folder, or for one that it lies in.
    fn enter(&self, folder: &Path) -> bool {
        let mut waiting = self.waiting();
        if folder.ancestors().any(|above| waiting.contains(above)) {
            return false;
        }
        if waiting.len() >= WAITING_MAX {
            let folder = folder.display();
            tracing::warn!(%folder, "too many folders wait for their deletion: it stays until this worker starts again");
            return false;
        }
        waiting.insert(folder.to_owned())
    }

    fn leave(&self, folder: &Path) {
        self.waiting().remove(folder);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Removal {
    pub volume: Arc<Volume>,
    pub disk: Arc<dyn Disk>,
    pub folder: PathBuf,
}

impl Removal {
    pub async fn run(self, hang: Duration, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = self.remove(hang) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn remove(&self, hang: Duration) {
        let Self { volume, disk, folder } = self;
        let mut pauses = Backoff::new(FIRST_PAUSE, PAUSE_MAX).tries(TRIES_MAX);
        let (mut pause, mut is_told) = (Duration::ZERO, false);
        while volume.removals.enter(folder) {
            tokio::time::sleep(pause).await;
            let turn = volume.removals.turns.acquire().await;
            volume.removals.leave(folder);
            let Err(error) = volume.awaited(hang, disk.remove_folder(folder)).await else { return };
            drop(turn);
            let shown = folder.display();
            pause = match pauses.next() {
                Some(pause) => pause,
                None => {
                    return tracing::warn!(folder = %shown, %error, "released data stays until this worker starts again");
                }
            };
            if !std::mem::replace(&mut is_told, true) {
                // That it goes on failing says nothing new of the disk.
                volume.call_failed(&error);
                tracing::warn!(folder = %shown, %error, "released data is not deleted yet");
            }
        }
    }
}
