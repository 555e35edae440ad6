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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use futures::future::join_all;
    use penstock_common::lifecycle::Tasks;
    use penstock_protocol::ids::Incarnation;

    use super::*;
    use crate::{
        disk::{Disk, Fault, FaultyDisk, MemoryDisk, Operation},
        worker::{
            config::Config,
            disks::{Disks, READS_AT_ONCE},
            memory::Budget,
            settings::Settings,
        },
    };

    // Each holds a thread of the process until the disk answers, and all disks need some.
    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_takes_no_more_than_its_share_of_reads() {
        let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default())));
        let config = Config { data_dirs: vec!["data".into()], ..Config::default() };
        let disks = Disks::new(&config, &"w".into(), Arc::clone(&disk) as _, Tasks::new("test"));
        disks.take_over().await.unwrap();
        let file = Path::new("data/w/file");
        disk.write_at(file, 0, vec![Bytes::from("0123456789")]).await.unwrap();
        let budget = Budget::new(&config);
        let store = Store::new("w".into(), Incarnation(1), budget, disks.into(), None, Settings::new(config));
        let place = Place::Disk { disk: 0, file: file.to_owned() };
        let opened = store.open(&place, 10).await.unwrap();

        disk.always("data", Operation::Read, Fault::Hang);
        for _ in 0..2 {
            let reads = (0..2 * READS_AT_ONCE).map(|_| store.read_at(&place, &opened, 0, 10));
            assert!(join_all(reads).await.iter().all(Result::is_err));
            assert_eq!(disk.injected(), READS_AT_ONCE as u64);
        }
        disk.heal();
        assert_eq!(store.read_at(&place, &opened, 0, 10).await.unwrap(), "0123456789");
    }
}
