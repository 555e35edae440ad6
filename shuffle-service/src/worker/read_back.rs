//! Opens and reads stored parts, whichever tier they lie in.
//!
//! A disk that hangs costs a reader its stream and nobody else anything: reads are given up after the time that a healthy disk
//! may take. Calls to the object store bring their own end.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{location::Place, store::Store};
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
            (Place::Disk { file, .. }, _) => self.in_time(place, self.disks.disk.open(file)).await,
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
        let read = self.in_time(place, file.read_at(offset, length)).await;
        metrics::read_back(started.elapsed());
        read
    }

    async fn in_time<T>(&self, place: &Place, call: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let Place::Disk { disk, .. } = place else { return call.await };
        let outcome = match tokio::time::timeout(self.disks.hang(), call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer")),
        };
        if let Err(error) = &outcome {
            self.disks.volumes[*disk].call_failed(error);
        }
        outcome
    }
}
