//! Deletes what former lives left in the object store and no manifest names.
//!
//! Beside everything else: the store may be slow, or away. What a manifest names was found before, and what this life makes
//! has names of its own, so nothing that comes while this goes on is in danger. Not here: files on disks.

use std::{collections::HashSet, convert::Infallible, io, sync::Arc};

use penstock_common::lifecycle::CancellationToken;

use super::{
    disks::Disks,
    location::Place,
    manifest::PartName,
    objects::Objects,
    recovery::{Recovered, manifests},
    store::Store,
};

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

    /// Looks once more for what was not to be seen at the start. What that names is kept: not served, but perhaps by the next
    /// life.
    async fn complete(&mut self, disks: &Disks) -> io::Result<()> {
        if self.are_all {
            return Ok(());
        }
        let Some(manifests) = manifests(disks).await else {
            return Err(io::Error::other("a disk that may name some of it cannot be looked through"));
        };
        let locations = manifests.into_iter().flat_map(|manifest| manifest.locations);
        self.keys.extend(locations.flat_map(|location| location.parts).filter_map(|part| match part.name {
            PartName::Object(key) => Some(key),
            PartName::File(_) => None,
        }));
        self.are_all = true;
        Ok(())
    }
}

pub(super) struct Sweeper {
    pub store: Arc<Store>,
    pub objects: Objects,
    pub named: NamedObjects,
}

impl Sweeper {
    /// Ends when it was done once.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        let timeout = self.objects.timeout();
        let sweep = async {
            while let Err(error) = self.sweep().await {
                tracing::warn!(%error, "what former lives left in the object store is not deleted yet");
                tokio::time::sleep(timeout).await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = sweep => {}
        }
        Ok(())
    }

    async fn sweep(&mut self) -> io::Result<()> {
        self.named.complete(&self.store.disks).await?;
        let listed = self.objects.list().await?;
        self.tell_of_missing(&listed);
        let is_forgotten =
            |key: &String| !self.objects.is_of_this_life(key) && !self.named.keys.contains(key);
        let forgotten: Vec<_> = listed.into_iter().filter(is_forgotten).collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        let objects = forgotten.len();
        self.objects.delete(forgotten).await?;
        tracing::info!(objects, "deleted what former lives left in the object store");
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

    use std::{path::Path, time::Duration};

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
            manifest::{LocationEntry, Manifest, PartEntry, Version},
            memory::Budget,
            recovery::recover,
            settings::Settings,
        },
    };

    const NAMED: &str = "w/1/named";
    const FORGOTTEN: &str = "w/1/forgotten";

    fn manifest() -> Bytes {
        let name = PartName::Object(NAMED.into());
        let part = PartEntry { start: 0, bytes: 10, crc32c: 7, synced: true, name };
        let (partition, epoch, life) = (PartitionIndex(0), Epoch(0), Incarnation(1));
        let location = LocationEntry { partition, epoch, life, parts: vec![part] };
        let shuffle = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(0), run: 0 };
        let manifest = Manifest { shuffle, version: Version(life, 0), locations: vec![location] };
        manifest.encode().unwrap()
    }

    // Invariant 28: what its manifests name may be wanted by the next life.
    #[tokio::test]
    async fn what_is_forgotten_goes_when_a_disk_that_was_away_is_back_and_what_that_names_stays() {
        let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default())));
        let config = Config { data_dirs: vec!["data".into()], ..Config::default() };
        let disks = Disks::new(&config, &"w".into(), Arc::clone(&disk) as _, Tasks::new("test"));
        disks.take_over().await.unwrap();
        disk.replace(Path::new("data/w/job/0-0/manifest"), manifest(), true).await.unwrap();
        disk.always("data", Operation::Read, Fault::Error);
        let (recovered, are_all) = recover(&disks, true).await;
        let named = NamedObjects::new(&recovered, are_all);

        let operator = Operator::new(Memory::default()).unwrap();
        for key in [NAMED, FORGOTTEN] {
            operator.write(key, "an object").await.unwrap();
        }
        let life = Incarnation(2);
        let objects = Objects::new(operator.clone(), Duration::from_secs(60), &"w".into(), life);
        let budget = Budget::new(&config);
        let store = Store::new("w".into(), life, budget, disks.into(), None, Settings::new(config));
        let mut sweeper = Sweeper { store: store.into(), objects, named };

        sweeper.sweep().await.unwrap_err();
        assert!(operator.exists(FORGOTTEN).await.unwrap());
        disk.heal();
        sweeper.sweep().await.unwrap();
        assert!(operator.exists(NAMED).await.unwrap());
        assert!(!operator.exists(FORGOTTEN).await.unwrap());
    }
}
