//! Makes committed data survive the process and the machine: bytes, names, and the manifest that tells the next life of them.
//!
//! With the sync policy `none` that happens when the worker leaves in order, and as far as data leaves memory anyway; with
//! the others before a commit is answered.

use std::{collections::BTreeSet, convert::Infallible, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use penstock_common::lifecycle::CancellationToken;
use penstock_protocol::frame::{self, Refusal};

use super::{
    location::{Location, Part, Place},
    manifest::{LocationEntry, Manifest, PartEntry, PartName, Version},
    read_back::may_pass,
    store::{LocationKey, Shuffle, Store, shuffle_folder},
    write_out::{Flushed, Named},
};
use crate::disk::StoredFile;

/// Locations that are written at the same time for one commit.
const WRITES_AT_ONCE: usize = 8;
/// A disk that dies takes its manifests along, so there are two of each if there are two disks.
const MANIFEST_COPIES: usize = 2;
const PROOF_CHUNK_BYTES: u64 = 1 << 20;

/// Writes manifests when nobody waits for them, and everything that is committed when the worker leaves.
pub(super) struct Recorder {
    pub store: Arc<Store>,
    pub interval: Duration,
}

impl Recorder {
    pub async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.interval) => {}
            }
            for shuffle in self.store.shuffles().into_iter().filter(|shuffle| shuffle.record.is_due()) {
                let durable = self.store.durability().at_commit();
                if let Err(error) = self.store.write_manifest(&shuffle, durable).await {
                    tracing::warn!(shuffle = %shuffle.id, %error, "writing a manifest failed");
                    shuffle.record.set_due();
                }
            }
        }
        self.store.leave().await;
        Ok(())
    }
}

impl Store {
    /// Before a commit is answered: closes the locations and makes what they hold durable. One for which that fails does
    /// not commit (invariant 3).
    pub async fn prepare_commit(
        self: &Arc<Self>,
        shuffle: &Arc<Shuffle>,
        keys: &[LocationKey],
        patience: Duration,
    ) {
        if !self.durability().at_commit() {
            return;
        }
        let asked: BTreeSet<_> = keys.iter().collect();
        let mut named = shuffle.named();
        named.retain(|named| asked.contains(&named.key) && !named.location.is_committed());
        named.iter().for_each(|named| named.location.close());
        // A disk that hangs for a while costs time: a location that fails costs its stage, if there is no second copy. What
        // hangs for longer fails alone, with time left for the manifest of the others.
        let durable = self.make_durable(shuffle, &named, patience / 4 * 3);
        let failed = match tokio::time::timeout(patience, durable).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("making it durable failed: {error}"),
            Err(_) => "making it durable took too long".to_owned(),
        };
        named.iter().for_each(|named| drop(named.location.fail_commit(&failed)));
    }

    /// Everything that these locations hold and the manifest that names it. Locations of which something cannot be written
    /// or synced are failed if they are not committed yet.
    async fn make_durable(
        self: &Arc<Self>,
        shuffle: &Arc<Shuffle>,
        named: &[Named],
        patience: Duration,
    ) -> io::Result<()> {
        let each = named.iter().cloned().map(|named| async move {
            if let Err(reason) = self.write_and_sync(&named, patience).await {
                tracing::warn!(shuffle = %named.shuffle, partition = %named.key.0, reason, "data is not durable");
                named.location.fail_commit(&reason);
                return Vec::new();
            }
            named.location.parts()
        });
        let parts: Vec<_> = stream::iter(each).buffer_unordered(WRITES_AT_ONCE).collect().await;
        let disk_of = |part: Part| match part.place {
            Place::Disk { disk, .. } => Some(disk),
            Place::Object { .. } => None,
        };
        let disks = parts.into_iter().flatten().filter_map(disk_of).collect();
        self.write_manifest_within(patience, shuffle, Some(disks)).await
    }

    async fn write_and_sync(self: &Arc<Self>, named: &Named, patience: Duration) -> Result<(), String> {
        let location = &named.location;
        while location.has_memory() {
            location.unwritten().await;
            match self.write_out_within(patience, named.clone()).await {
                Flushed::Freed => {}
                Flushed::Kept => return Err("writing it failed".to_owned()),
                Flushed::NoPlace => return Err("no disk takes it".to_owned()),
                Flushed::StillRunning => return Err("a disk does not answer".to_owned()),
            }
        }
        for part in location.parts().into_iter().filter(|part| !part.synced) {
            let Place::Disk { disk, file } = &part.place else { continue };
            self.sync_file(*disk, file.clone(), patience)
                .await
                .map_err(|error| format!("syncing it failed: {error}"))?;
            location.synced(&part);
        }
        Ok(())
    }

    async fn sync_file(&self, disk: usize, file: PathBuf, patience: Duration) -> io::Result<()> {
        let (volume, files, hang) =
            (Arc::clone(&self.disks.volumes[disk]), Arc::clone(&self.disks.disk), self.disks.hang());
        let sync = async move { volume.watched(hang, files.sync(&file)).await };
        self.disks
            .carry_within(patience, "sync", sync)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes down everything of a shuffle that is committed, or about to be, and out of memory.
    pub async fn write_manifest(self: &Arc<Self>, shuffle: &Arc<Shuffle>, durable: bool) -> io::Result<()> {
        self.write_manifest_within(self.disks.hang(), shuffle, durable.then(BTreeSet::new)).await
    }

    async fn write_manifest_within(
        self: &Arc<Self>,
        patience: Duration,
        shuffle: &Arc<Shuffle>,
        durable: Option<BTreeSet<usize>>,
    ) -> io::Result<()> {
        let (store, shuffle) = (Arc::clone(self), Arc::clone(shuffle));
        let write = async move {
            let mut record = shuffle.record.writing.lock().await;
            let locations = store.entries(&shuffle);
            if record.released || (locations.is_empty() && record.manifests == 0) {
                return Ok(());
            }
            let version = Version(store.incarnation, record.manifests);
            record.manifests += 1;
            let content = Manifest { shuffle: shuffle.id, version, locations }.encode();
            store.put_manifest(&shuffle, content.map_err(io::Error::other)?, durable.as_ref()).await
        };
        self.disks
            .carry_within(patience, "manifest", write)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    fn entries(&self, shuffle: &Shuffle) -> Vec<LocationEntry> {
        let entry = |named: Named| {
            let parts = named.location.complete_parts()?;
            let (partition, epoch) = named.key;
            let parts = parts.iter().map(|part| self.part_entry(part)).collect();
            Some(LocationEntry { partition, epoch, life: named.location.life, parts })
        };
        shuffle.named().into_iter().filter_map(entry).collect()
    }

    fn part_entry(&self, part: &Part) -> PartEntry {
        let name = match &part.place {
            Place::Disk { disk, file } => {
                let below = file.strip_prefix(&self.disks.volumes[*disk].folder).unwrap_or(file);
                PartName::File(below.to_owned())
            }
            Place::Object { key } => PartName::Object(key.clone()),
        };
        PartEntry { start: part.start, bytes: part.bytes, crc32c: part.crc32c, synced: part.synced, name }
    }

    /// If it is to be durable, so are the names of all files of the shuffle, on these disks without fail.
    async fn put_manifest(
        &self,
        shuffle: &Shuffle,
        content: Bytes,
        durable: Option<&BTreeSet<usize>>,
    ) -> io::Result<()> {
        let folder = shuffle_folder(shuffle.id);
        let mut outcome = Err(io::Error::other("no disk works"));
        let mut copies = 0;
        for (disk, volume) in self.disks.volumes.iter().enumerate() {
            let is_needed = durable.is_some_and(|disks| disks.contains(&disk));
            let takes_manifest = volume.is_usable() && copies < MANIFEST_COPIES;
            if !is_needed && !volume.is_usable() {
                continue;
            }
            let own = volume.folder.join(&folder);
            let put = async {
                if takes_manifest {
                    let file = own.join(&self.manifest_name);
                    self.disks.disk.replace(&file, content.clone(), durable.is_some()).await?;
                }
                for folder in own.ancestors().take(if durable.is_some() { 3 } else { 0 }) {
                    // A disk that has nothing of the shuffle has no folder of it.
                    match self.disks.disk.sync_folder(folder).await {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        synced => synced?,
                    }
                }
                Ok(())
            };
            match volume.watched(self.disks.hang(), put).await {
                Ok(()) if takes_manifest => (copies, outcome) = (copies + 1, Ok(())),
                Ok(()) => {}
                // Names on this disk may be lost, so nothing was promised.
                Err(error) if durable.is_some() => return Err(error),
                Err(error) => outcome = outcome.or(Err(error)),
            }
        }
        outcome
    }

    /// The worker leaves: what is not committed fails, what is committed becomes durable (invariant 25).
    pub async fn leave(self: &Arc<Self>) {
        if !self.durability().keep {
            return;
        }
        for shuffle in self.shuffles() {
            let mut named = shuffle.named();
            for named in named.iter().filter(|named| !named.location.is_committed()) {
                named.location.fail_commit("the worker stopped before its commit");
            }
            named.retain(|named| named.location.is_committed() && named.location.has_bytes());
            if named.is_empty() {
                continue;
            }
            if let Err(error) = self.make_durable(&shuffle, &named, self.disks.hang()).await {
                tracing::warn!(shuffle = %shuffle.id, %error, "committed data does not survive this stop");
            }
        }
    }

    /// Compares what was never synced with its checksum before it is served for the first time. What cannot be read now
    /// may be read later; what is wrong stays so.
    pub async fn prove(&self, location: &Location) -> Result<(), Refusal> {
        let proof = location.proof.get_or_try_init(|| async {
            for part in location.parts() {
                match self.checksum_of(&part).await {
                    Ok(checksum) if checksum == part.crc32c => {}
                    Ok(_) => {
                        tracing::warn!(?part, "data of a former life is not what its manifest says");
                        return Ok(Err(Refusal::Unknown));
                    }
                    Err(error) => {
                        tracing::warn!(?part, %error, "data of a former life cannot be read");
                        let passes = may_pass(&part.place, &error);
                        return Err(if passes { Refusal::StoreAway } else { Refusal::Unknown });
                    }
                }
            }
            Ok(Ok(()))
        });
        *proof.await?
    }

    pub async fn checksum_of(&self, part: &Part) -> io::Result<u32> {
        let file: Arc<dyn StoredFile> = self.open(&part.place, part.bytes).await?;
        let (mut checksum, mut offset) = (0, 0);
        while offset < part.bytes {
            let length = PROOF_CHUNK_BYTES.min(part.bytes - offset);
            let chunk = usize::try_from(length).map_err(io::Error::other)?;
            let bytes = self.read_at(&part.place, &file, offset, chunk).await?;
            checksum = frame::crc32c_append(checksum, &bytes);
            offset += length;
        }
        Ok(checksum)
    }
}
