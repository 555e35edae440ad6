//! Deletes what nobody wants any more.

use std::{path::PathBuf, pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use penstock_protocol::ids::{Incarnation, JobId, ShuffleId};

use super::{LocationKey, Shuffle, Store, lock, read, shuffle_folder, write};
use crate::worker::{location::Location, objects::Objects};

/// More than ever wait for a disk: most end at once.
const RELEASES_AT_ONCE: usize = 1000;
/// For so long a release is waited for: masters and owners have others to tell of.
const PATIENCE: Duration = Duration::from_secs(1);

impl Store {
    /// Deletes everything of a job and refuses whatever still comes for it.
    pub async fn release_job(&self, job: JobId) {
        let shuffles = {
            let mut shuffles = write(&self.shuffles);
            lock(&self.released).job(job);
            let of_job: Vec<_> = shuffles.keys().filter(|id| id.job == job).copied().collect();
            of_job.into_iter().filter_map(|id| shuffles.remove(&id)).collect()
        };
        let kept = lock(&self.kept).take(job);
        if let Some(objects) = &self.objects {
            objects.discard(kept);
        }
        self.delete(shuffles, Some(PathBuf::from(job.to_string()))).await;
    }

    /// Deletes what a former life committed of a shuffle. If this life has a part in it, that goes with the job.
    pub async fn release_former(&self, id: ShuffleId, life: Incarnation) {
        let of_that_life = self.shuffle(id).is_ok_and(|shuffle| {
            let locations = read(&shuffle.locations);
            locations.values().all(|location| location.life == life)
        });
        if of_that_life {
            self.release_shuffle(id).await;
        }
    }

    /// Deletes one shuffle. One that never took a batch is forgotten as if it had not been reserved, so that a failed
    /// reservation may be repeated: its folder may be in use again when a deletion comes, and has nothing to delete.
    pub async fn release_shuffle(&self, id: ShuffleId) {
        let (shuffle, folder) = {
            let mut shuffles = write(&self.shuffles);
            let Some(shuffle) = shuffles.remove(&id) else { return };
            if shuffle.is_untouched() {
                (shuffle, None)
            } else {
                lock(&self.released).shuffle(id);
                (shuffle, Some(shuffle_folder(id)))
            }
        };
        self.delete(vec![shuffle], folder).await;
    }

    /// Deletes locations as if they had not been reserved: their reservation failed on another copy (invariant 15). A file
    /// that one may have by now goes with the job.
    pub async fn release_locations(&self, id: ShuffleId, keys: &[LocationKey]) {
        let Ok(shuffle) = self.shuffle(id) else { return };
        let locations: Vec<_> = {
            let mut locations = write(&shuffle.locations);
            keys.iter().filter_map(|key| locations.remove(key)).collect()
        };
        if locations.iter().any(|location| !location.is_untouched()) {
            self.keep(id.job, []);
        }
        release_all(locations, self.objects.clone()).await;
    }

    /// Not waited for on a disk that hangs; the deletion goes on, and deletes at once what does not need that disk.
    async fn delete(&self, shuffles: Vec<Arc<Shuffle>>, folder: Option<PathBuf>) {
        let (disks, objects) = (Arc::clone(&self.disks), self.objects.clone());
        let delete = async move {
            let named = shuffles.iter().flat_map(|shuffle| shuffle.named());
            let locations: Vec<_> = named.map(|named| named.location).collect();
            locations.iter().for_each(|location| location.begin_release());
            let records = shuffles.iter().map(|shuffle| async {
                shuffle.record.writing.lock().await.released = true;
            });
            let ended = async {
                tokio::join!(release_all(locations, objects), futures::future::join_all(records));
            };
            let mut ended = pin!(ended);
            let Some(folder) = folder else { return ended.await };
            if tokio::time::timeout(PATIENCE, &mut ended).await.is_err() {
                // What can go at once.
                disks.remove_folders(folder.clone()).await;
                ended.await;
            }
            disks.remove_folders(folder).await;
        };
        if self.disks.carry_within(PATIENCE, "release", delete).await.is_err() {
            tracing::info!("a release takes long: it goes on and is not waited for");
        }
    }
}

/// Returns when nothing can bring their data back. One that has to wait for that keeps no other one waiting.
async fn release_all(locations: Vec<Arc<Location>>, objects: Option<Objects>) {
    let release = |location: Arc<Location>| async {
        let keys = { location }.release().await;
        if let Some(objects) = &objects {
            objects.discard(keys);
        }
    };
    stream::iter(locations).for_each_concurrent(RELEASES_AT_ONCE, release).await;
}
