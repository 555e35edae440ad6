//! Opens and reads stored parts, whichever tier they lie in.
//!
//! A disk that hangs costs a reader its stream and nobody else anything: reads are given up after the time that a healthy disk
//! may take. Calls to the object store bring their own end.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{disks::StillRunning, location::Place, store::Store};
use crate::{disk::StoredFile, metrics};

/// Whether a read that failed may succeed later, although nothing is wrong with this machine: the object store did not do what
/// it was asked. An object that is not there, or is too short, stays so.
pub(super) fn may_pass(place: &Place, error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, UnexpectedEof, Unsupported};
    let is_final = matches!(error.kind(), NotFound | UnexpectedEof | Unsupported);
    matches!(place, Place::Object { .. }) && !is_final
}

impl Store {
    /// Opens a part of `bytes` bytes.
    pub async fn open(&self, place: &Place, bytes: u64) -> io::Result<Arc<dyn StoredFile>> {
        match (place, &self.objects) {
            (Place::Disk { disk, file }, _) => {
                let (all, file) = (Arc::clone(&self.disks.disk), file.clone());
                self.on_disk(*disk, async move { all.open(&file).await }).await
            }
            (Place::Object { key }, Some(objects)) => Ok(objects.file(key, bytes)),
            (Place::Object { .. }, None) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "no object store is configured"))
            }
        }
    }

    pub async fn read_at(
        &self,
        place: &Place,
        file: &Arc<dyn StoredFile>,
        offset: u64,
        length: usize,
    ) -> io::Result<Bytes> {
        let started = tokio::time::Instant::now();
        let read = match place {
            Place::Disk { disk, .. } => {
                let file = Arc::clone(file);
                self.on_disk(*disk, async move { file.read_at(offset, length).await }).await
            }
            Place::Object { .. } => file.read_at(offset, length).await,
        };
        metrics::read_back(started.elapsed());
        read
    }

    /// A call that is not waited for any more goes on, and counts as one of the disk's until it ends.
    async fn on_disk<T: Send + 'static>(
        &self,
        disk: usize,
        call: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let volume = &self.disks.volumes[disk];
        let in_time = async {
            let permit = Arc::clone(&volume.reads).acquire_owned().await.map_err(io::Error::other)?;
            let carried = self.disks.carry("read", async move {
                let _permit = permit;
                call.await
            });
            carried.await.unwrap_or_else(|StillRunning| Err(silent()))
        };
        let outcome =
            tokio::time::timeout(self.disks.hang(), in_time).await.unwrap_or_else(|_| Err(silent()));
        if let Err(error) = &outcome {
            volume.call_failed(error);
        }
        outcome
    }
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer")
}
