//! Deletes what nobody wants any more.

use std::{path::PathBuf, sync::Arc};

use penstock_protocol::ids::{Incarnation, JobId, ShuffleId};

use super::{LocationKey, Shuffle, Store, lock, read, shuffle_folder, write};

impl Store {
    /// Deletes everything of a job and refuses whatever still comes for it.
    pub async fn release_job(&self, job: JobId) {
        let shuffles = {
            let mut shuffles = write(&self.shuffles);
            lock(&self.released).job(job);
            let of_job: Vec<_> = shuffles.keys().filter(|id| id.job == job).copied().collect();
            of_job.into_iter().filter_map(|id| shuffles.remove(&id)).collect()
        };
        self.delete(shuffles, PathBuf::from(job.to_string())).await;
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
    /// reservation may be repeated.
    pub async fn release_shuffle(&self, id: ShuffleId) {
        let shuffle = {
            let mut shuffles = write(&self.shuffles);
            let Some(shuffle) = shuffles.remove(&id) else { return };
            if !shuffle.is_untouched() {
                lock(&self.released).shuffle(id);
            }
            shuffle
        };
        self.delete(vec![shuffle], shuffle_folder(id)).await;
    }

    /// Deletes locations as if they had not been reserved: their reservation failed on another copy (invariant 15). A file
    /// that one may have by now goes with its shuffle.
    pub async fn release_locations(&self, id: ShuffleId, keys: &[LocationKey]) {
        let Ok(shuffle) = self.shuffle(id) else { return };
        let locations: Vec<_> = {
            let mut locations = write(&shuffle.locations);
            keys.iter().filter_map(|key| locations.remove(key)).collect()
        };
        for location in locations {
            location.release().await;
        }
    }

    /// Not waited for on a disk that hangs; the deletion goes on.
    async fn delete(&self, shuffles: Vec<Arc<Shuffle>>, folder: PathBuf) {
        let (disks, objects) = (Arc::clone(&self.disks), self.objects.clone());
        let delete = async move {
            let mut keys = Vec::new();
            for shuffle in shuffles {
                shuffle.record.writing.lock().await.released = true;
                for named in shuffle.named() {
                    keys.extend(named.location.release().await);
                }
            }
            disks.remove_folders(folder).await;
            if let Some(objects) = objects {
                objects.discard(keys);
            }
        };
        if self.disks.carry("release", delete).await.is_err() {
            tracing::warn!("a release takes long: it goes on and is not waited for");
        }
    }
}
