//! Deletes what former lives left in the object store and no manifest names.
//!
//! Beside everything else: the store may be slow, or away. What a manifest names was found before, and what this life makes
//! has names of its own, so nothing that comes while this goes on is in danger. Not here: files on disks.

use std::{collections::HashSet, convert::Infallible, io, sync::Arc};

use penstock_common::lifecycle::CancellationToken;

use super::{location::Place, objects::Objects, recovery::Recovered, store::Store};

/// What manifests of former lives name in the store.
pub(super) type NamedObjects = HashSet<String>;

pub(super) fn named_objects(recovered: &Recovered) -> NamedObjects {
    let parts = recovered.values().flatten().flat_map(|(_, parts)| parts);
    let key = |place: &Place| match place {
        Place::Object { key } => Some(key.clone()),
        Place::Disk { .. } => None,
    };
    parts.filter_map(|part| key(&part.place)).collect()
}

pub(super) struct Sweeper {
    pub store: Arc<Store>,
    pub objects: Objects,
    pub named: NamedObjects,
}

impl Sweeper {
    /// Ends when it was done once.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        let sweep = async {
            while let Err(error) = self.sweep().await {
                tracing::warn!(%error, "what former lives left in the object store is not deleted yet");
                tokio::time::sleep(self.objects.timeout()).await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = sweep => {}
        }
        Ok(())
    }

    async fn sweep(&self) -> io::Result<()> {
        let listed = self.objects.list().await?;
        self.tell_of_missing(&listed);
        let is_forgotten = |key: &String| !self.objects.is_of_this_life(key) && !self.named.contains(key);
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
        let missing = held.filter(|key| self.named.contains(key) && !listed.contains(key)).count();
        if missing > 0 {
            tracing::warn!(missing, "objects that manifests name are not in the object store");
        }
    }
}
