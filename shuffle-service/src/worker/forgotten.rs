//! Deals with what former lives left and was not to be had when the worker started.
//!
//! In the object store that is what no manifest names, which is deleted. On disks it is what only shows when they answer
//! again; this life does not serve it, since its readers were told so, but the next one may. It is kept for as long as its job
//! runs.
//!
//! Beside everything else: the store may be slow, or away. What a manifest names was found before, and what this life makes
//! has names of its own, so nothing that comes while this goes on is in danger.

use std::{collections::HashSet, convert::Infallible, io, sync::Arc, time::Duration};

use penstock_common::{lifecycle::CancellationToken, retry::Backoff};

use super::{
    location::Place,
    manifest::LocationEntry,
    objects::Objects,
    recovery::{Recovered, look_again},
    store::Store,
};

/// Between two looks at disks and store.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What manifests of former lives name in the store.
#[derive(Debug)]
pub(super) struct NamedObjects {
    keys: HashSet<String>,
    /// Whether these are all. A disk that did not answer may hold manifests, and its next life may read them.
    are_all: bool,
}

impl NamedObjects {
    pub fn new(recovered: &Recovered, are_all: bool) -> Self {
        let parts = recovered.values().flatten().flat_map(|(_, parts)| parts);
        let key = |place: &Place| match place {
            Place::Object { key } => Some(key.clone()),
            Place::Disk { .. } => None,
        };
        Self { keys: parts.filter_map(|part| key(&part.place)).collect(), are_all }
    }
}

pub(super) struct Sweeper {
    pub store: Arc<Store>,
    pub named: NamedObjects,
    /// Whether all disks were looked through, and all manifests read.
    pub is_all_seen: bool,
}

impl Sweeper {
    /// Ends when all was seen and swept once.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        let probe_interval_ms = self.store.settings.get().disk_probe_interval_ms;
        let mut pauses = Backoff::new(Duration::from_millis(probe_interval_ms), PAUSE_MAX);
        let sweep = async {
            let mut is_swept = self.store.objects.is_none();
            loop {
                self.look_again().await;
                is_swept = is_swept || self.sweep().await;
                if is_swept && self.is_all_seen {
                    return;
                }
                tokio::time::sleep(pauses.one_more()).await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = sweep => {}
        }
        Ok(())
    }

    /// Looks once more for what was not to be seen at the start.
    async fn look_again(&mut self) {
        let disks = &self.store.disks;
        if self.is_all_seen || !disks.volumes.iter().all(|volume| volume.is_usable()) {
            return;
        }
        let sighting = look_again(disks).await;
        for job in sighting.jobs {
            self.store.keep(job, []);
        }
        for manifest in sighting.manifests {
            let objects = || manifest.locations.iter().flat_map(LocationEntry::objects).cloned();
            self.named.keys.extend(objects());
            self.store.keep(manifest.shuffle.job, objects());
        }
        self.is_all_seen = sighting.is_all_seen;
        self.named.are_all |= self.is_all_seen;
    }

    /// Whether nothing is in the object store that no manifest names.
    async fn sweep(&self) -> bool {
        let Some(objects) = self.store.objects.as_ref().filter(|_| self.named.are_all) else { return false };
        let swept = self.delete_forgotten(objects).await;
        if let Err(error) = &swept {
            tracing::warn!(%error, "what former lives left in the object store is not deleted yet");
        }
        swept.is_ok()
    }

    async fn delete_forgotten(&self, objects: &Objects) -> io::Result<()> {
        let listed = objects.list().await?;
        self.tell_of_missing(&listed);
        let is_forgotten = |key: &String| !objects.is_of_this_life(key) && !self.named.keys.contains(key);
        let forgotten: Vec<_> = listed.into_iter().filter(is_forgotten).collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        let count = forgotten.len();
        objects.delete(forgotten).await?;
        tracing::info!(objects = count, "deleted what former lives left in the object store");
        Ok(())
    }

    /// Their readers are told when they come. What was released meanwhile is missed by nobody.
    fn tell_of_missing(&self, listed: &HashSet<String>) {
        let held = self.store.each_location().flat_map(|named| named.location.object_keys());
        let missing = held.filter(|key| self.named.keys.contains(key) && !listed.contains(key)).count();
        if missing > 0 {
            tracing::warn!(missing, "objects that manifests name are not in the object store");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{collections::BTreeSet, path::Path};

    use bytes::Bytes;
    use opendal::{Operator, services::Memory};
    use penstock_common::lifecycle::Tasks;
    use penstock_protocol::ids::{Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, StageId};
    use uuid::Uuid;

    use super::*;
    use crate::{
        disk::{Disk, Fault, FaultyDisk, MemoryDisk, Operation},
        worker::{
            config::Config,
            disks::Disks,
            manifest::{Manifest, PartEntry, PartName, Version},
            memory::Budget,
            recovery::recover,
            settings::Settings,
            store::shuffle_folder,
        },
    };

    const SHUFFLE: ShuffleId = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(0), run: 0 };
    const NAMED: &str = "w/1/named";
    const FORGOTTEN: &str = "w/1/forgotten";

    fn manifest() -> Bytes {
        let name = PartName::Object(NAMED.into());
        let part = PartEntry { start: 0, bytes: 10, crc32c: 7, synced: true, name };
        let (partition, epoch, life) = (PartitionIndex(0), Epoch(0), Incarnation(1));
        let location = LocationEntry { partition, epoch, life, parts: vec![part] };
        let manifest = Manifest { shuffle: SHUFFLE, version: Version(life, 0), locations: vec![location] };
        manifest.encode().unwrap()
    }

    /// A worker whose former life left a manifest, which its disk does not give for now, and two objects.
    struct Start {
        disk: Arc<FaultyDisk>,
        operator: Operator,
        sweeper: Sweeper,
    }

    async fn start() -> Start {
        let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default())));
        let config = Config { data_dirs: vec!["data".into()], ..Config::default() };
        let disks = Disks::new(&config, &"w".into(), Arc::clone(&disk) as _, Tasks::new("test"));
        disks.take_over().await.unwrap();
        disks.volumes[0].measured(1 << 30, 0);
        let file = Path::new("data/w").join(shuffle_folder(SHUFFLE)).join("manifest");
        disk.replace(&file, manifest(), true).await.unwrap();
        disk.always("data", Operation::Read, Fault::Error);
        let recovery = recover(&disks, true).await;
        assert_eq!(recovery.jobs_left, BTreeSet::from([SHUFFLE.job]));
        let named = NamedObjects::new(&recovery.locations, recovery.is_all_seen);

        let operator = Operator::new(Memory::default()).unwrap();
        for key in [NAMED, FORGOTTEN] {
            operator.write(key, "an object").await.unwrap();
        }
        let life = Incarnation(2);
        let objects = Objects::new(operator.clone(), Duration::from_secs(60), &"w".into(), life);
        let budget = Budget::new(&config);
        let store =
            Store::new("w".into(), life, budget, disks.into(), Some(objects), Settings::new(config)).into();
        Start { disk, operator, sweeper: Sweeper { store, named, is_all_seen: recovery.is_all_seen } }
    }

    // Invariant 28: what its manifests name may be wanted by the next life.
    #[tokio::test]
    async fn what_is_forgotten_goes_when_a_disk_that_was_away_is_back_and_what_that_names_stays() {
        let Start { disk, operator, mut sweeper } = start().await;
        sweeper.look_again().await;
        assert!(!sweeper.sweep().await);
        assert!(operator.exists(FORGOTTEN).await.unwrap());
        disk.heal();
        sweeper.look_again().await;
        assert!(sweeper.sweep().await);
        assert!(operator.exists(NAMED).await.unwrap());
        assert!(!operator.exists(FORGOTTEN).await.unwrap());
    }

    // Invariant 28: no life of its worker serves it any more.
    #[tokio::test]
    async fn what_a_disk_that_was_away_names_goes_with_its_job() {
        let Start { disk, operator, mut sweeper } = start().await;
        disk.heal();
        sweeper.look_again().await;
        let store = &sweeper.store;
        assert_eq!(store.jobs(), BTreeSet::from([SHUFFLE.job]), "masters are told of it");
        store.release_job(SHUFFLE.job).await;
        assert_eq!(store.jobs(), BTreeSet::new());
        assert_eq!(Disk::files(disk.as_ref(), Path::new("data")).await.unwrap(), []);
        let unwanted = store.objects.as_ref().unwrap().unwanted();
        assert_eq!(unwanted.first().await, [NAMED]);
        assert!(operator.exists(FORGOTTEN).await.unwrap());
    }
}
