//! Deletes a released folder from one disk, however often that takes.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use penstock_common::{lifecycle::CancellationToken, retry::Backoff};

use super::Volume;
use crate::disk::Disk;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// More than a day. What lies on a disk that is away for longer goes when the worker starts again.
const TRIES_MAX: u32 = 3000;

pub(super) struct Removal {
    pub volume: Arc<Volume>,
    pub disk: Arc<dyn Disk>,
    pub folder: PathBuf,
}

impl Removal {
    pub async fn run(self, hang: Duration, stop: CancellationToken) {
        let mut pauses = Backoff::new(FIRST_PAUSE, PAUSE_MAX).tries(TRIES_MAX);
        let (folder, mut is_told) = (self.folder.display(), false);
        loop {
            let tried = tokio::select! {
                biased;
                tried = self.try_once(hang) => tried,
                () = stop.cancelled() => return,
            };
            let Err(error) = tried else { return };
            let Some(pause) = pauses.next() else {
                return tracing::warn!(%folder, %error, "released data stays until this worker starts again");
            };
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(%folder, %error, "released data is not deleted yet");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn try_once(&self, hang: Duration) -> io::Result<()> {
        let _turn = self.volume.removals.acquire().await.map_err(io::Error::other)?;
        self.volume.watched(hang, self.disk.remove_folder(&self.folder)).await
    }
}
