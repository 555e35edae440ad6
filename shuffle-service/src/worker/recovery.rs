//! What an earlier life of this worker left on its disks: which of it is served again, and which is deleted.
//!
//! Served is what a manifest names and whose files are there in full length; everything else nobody can ask for. Of files
//! that were not synced the length proves nothing: their checksum is compared before they are read for the first time.
//!
//! What may lie on a disk that does not answer stays, with all that names it, for the next life. A disk that hangs is not
//! waited for: what is on the others is served meanwhile.
//!
//! What a manifest names in the object store is taken for there: a store that is slow must not hold up what is on the disks.

mod look;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use penstock_protocol::ids::{Incarnation, JobId, ShuffleId};

use self::look::{Files, Seen, find_files, read_manifests};
use super::{
    disks::Disks,
    location::{Part, Place},
    manifest::{self, LocationEntry, Manifest, PartEntry, PartName},
    store::shuffle_folder,
};

/// The committed locations of former lives.
pub(super) type Recovered = BTreeMap<ShuffleId, Vec<(LocationEntry, Vec<Part>)>>;

/// What former lives left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recovery {
    pub locations: Recovered,
    /// Committed locations of which something may lie where this life could not look.
    pub absent: BTreeMap<ShuffleId, Vec<LocationEntry>>,
    /// Jobs of which more is there: it could be neither read nor deleted.
    pub jobs_left: BTreeSet<JobId>,
    /// The last life that wrote something down.
    pub last_life: Option<Incarnation>,
    /// Whether everything was seen: each disk was there and looked through, and each manifest read or known to be damaged.
    pub is_all_seen: bool,
}

/// Looks through all disks. What cannot be read is left out, and with it what it holds; all of it if nothing is to be kept.
/// While something was not seen, nothing is known to be too much, and nothing is deleted.
pub(super) async fn recover(disks: &Disks, keep: bool) -> Recovery {
    let Seen { found, is_everything, has_empty } = find_files(disks).await;
    let (manifests, are_all_read) =
        if keep { read_manifests(disks, &found).await } else { (Vec::new(), true) };
    let mut recovery = Recovery { last_life: last_life(&manifests), ..Recovery::default() };
    for (id, entries) in by_shuffle(manifests) {
        let (complete, others) = complete(entries, &found);
        if !complete.is_empty() {
            recovery.locations.insert(id, complete);
        }
        if !others.is_empty() {
            recovery.absent.insert(id, others);
        }
    }
    // A disk that was not mounted looks like one that is new.
    let is_disk_missing = has_empty && !recovery.absent.is_empty();
    recovery.is_all_seen = is_everything && are_all_read && !is_disk_missing;
    if recovery.is_all_seen {
        for (shuffle, lost) in std::mem::take(&mut recovery.absent) {
            let lost = lost.len();
            tracing::warn!(%shuffle, lost, "committed locations of a former life are not all there");
        }
    }
    recovery.jobs_left = if recovery.is_all_seen || !keep {
        delete_the_rest(disks, &found, &recovery.locations).await
    } else {
        jobs_of(&found)
    };
    recovery
}

fn last_life(manifests: &[Manifest]) -> Option<Incarnation> {
    manifests.iter().map(|manifest| manifest.version.0).max()
}

/// What the newest manifest that knows it says of each location. Only the release of its shuffle ends one, so what is missing
/// in a newer manifest was not seen by the life that wrote it.
fn by_shuffle(mut manifests: Vec<Manifest>) -> BTreeMap<ShuffleId, Vec<LocationEntry>> {
    manifests.sort_by_key(|manifest| manifest.version);
    let mut shuffles: BTreeMap<ShuffleId, BTreeMap<_, LocationEntry>> = BTreeMap::new();
    for Manifest { shuffle, locations, .. } in manifests {
        let keyed = locations.into_iter().map(|entry| ((entry.partition, entry.epoch), entry));
        shuffles.entry(shuffle).or_default().extend(keyed);
    }
    shuffles.into_iter().map(|(id, entries)| (id, entries.into_values().collect())).collect()
}

/// What is on the disks now, when not everything was seen at the start. Of this life, too.
pub(super) struct Sighting {
    pub jobs: BTreeSet<JobId>,
    pub manifests: Vec<Manifest>,
    pub is_all_seen: bool,
}

/// Looks once more: a disk that was away may be back.
pub(super) async fn look_again(disks: &Disks) -> Sighting {
    let Seen { found, is_everything, has_empty } = find_files(disks).await;
    let (manifests, are_all_read) = read_manifests(disks, &found).await;
    let mut entries = by_shuffle(manifests.clone()).into_values();
    let is_disk_missing = has_empty && entries.any(|entries| !complete(entries, &found).1.is_empty());
    let is_all_seen = is_everything && are_all_read && !is_disk_missing;
    Sighting { jobs: jobs_of(&found), manifests, is_all_seen }
}

fn jobs_of(found: &Files) -> BTreeSet<JobId> {
    found.keys().filter_map(|name| job_of(name)).collect()
}

/// Whose files lie in a folder or below a name, see [`shuffle_folder`].
fn job_of(name: &Path) -> Option<JobId> {
    name.iter().next()?.to_str()?.parse().ok()
}

/// The locations whose parts are all there, and the others.
fn complete(
    entries: Vec<LocationEntry>,
    found: &Files,
) -> (Vec<(LocationEntry, Vec<Part>)>, Vec<LocationEntry>) {
    let with_parts = |entry: &LocationEntry| {
        let mut end = 0;
        let mut parts = Vec::with_capacity(entry.parts.len());
        for part in &entry.parts {
            if part.start != end {
                return None;
            }
            end += part.bytes;
            parts.push(find_part(part, found)?);
        }
        Some(parts)
    };
    let (mut complete, mut others) = (Vec::new(), Vec::new());
    for entry in entries {
        match with_parts(&entry) {
            Some(parts) => complete.push((entry, parts)),
            None => others.push(entry),
        }
    }
    (complete, others)
}

fn find_part(part: &PartEntry, found: &Files) -> Option<Part> {
    let place = match &part.name {
        PartName::File(name) => {
            let file = found.get(name)?.iter().find(|file| file.bytes >= part.bytes)?;
            Place::Disk { disk: file.disk, file: file.file.clone() }
        }
        PartName::Object(key) => Place::Object { key: key.clone() },
    };
    Some(Part { start: part.start, bytes: part.bytes, crc32c: part.crc32c, synced: part.synced, place })
}

/// Returns the jobs of which something could not be deleted.
async fn delete_the_rest(disks: &Disks, found: &Files, recovered: &Recovered) -> BTreeSet<JobId> {
    let mut jobs_left = BTreeSet::new();
    let parts = recovered.values().flatten().flat_map(|(_, parts)| parts);
    let kept: HashSet<&PathBuf> = parts
        .filter_map(|part| match &part.place {
            Place::Disk { file, .. } => Some(file),
            Place::Object { .. } => None,
        })
        .collect();
    let folders: HashSet<_> = recovered.keys().map(|id| shuffle_folder(*id)).collect();
    let is_manifest = |name: &Path| {
        manifest::is_file_name(name) && name.parent().is_some_and(|folder| folders.contains(folder))
    };
    for (name, files) in found.iter().filter(|(name, _)| !is_manifest(name)) {
        for found in files.iter().filter(|found| !kept.contains(&found.file)) {
            let (files, file) = (Arc::clone(&disks.disk), found.file.clone());
            let removal = async move { files.remove_file(&file).await };
            if let Err(error) = disks.ask(found.disk, "delete", disks.hang(), removal).await {
                tracing::warn!(name = %name.display(), %error, "what a former life left is not deleted yet");
                jobs_left.extend(job_of(name));
            }
        }
    }
    jobs_left
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use penstock_common::lifecycle::Tasks;

    use super::*;
    use crate::{
        disk::{Disk, Fault, FaultyDisk, MemoryDisk, Operation},
        worker::config::Config,
    };

    const MANIFEST: &str = "data/w/00000000-0000-0000-0000-000000000000/0-0/manifest";
    const DATA: &str = "data/w/00000000-0000-0000-0000-000000000000/0-0/0-0-0";

    // What it names in the object store may not go either.
    #[tokio::test]
    async fn what_belongs_to_a_manifest_that_cannot_be_read_stays_for_the_next_life() {
        for (fault, is_known) in [(Some(Fault::Error), false), (None, true)] {
            let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default())));
            let config = Config { data_dirs: vec!["data".into()], ..Config::default() };
            let disks = Disks::new(&config, &"w".into(), Arc::clone(&disk) as _, Tasks::new("test"));
            disks.take_over().await.unwrap();
            for file in [MANIFEST, DATA] {
                disk.replace(Path::new(file), Bytes::from_static(b"no manifest"), true).await.unwrap();
            }
            if let Some(fault) = fault {
                disk.always("data", Operation::Read, fault);
            }
            let recovery = recover(&disks, true).await;
            assert_eq!((&recovery.locations, recovery.is_all_seen), (&Recovered::new(), is_known));
            assert_eq!(recovery.jobs_left.is_empty(), is_known);
            disk.heal();
            let stays =
                disk.open(Path::new(DATA)).await.is_ok() && disk.open(Path::new(MANIFEST)).await.is_ok();
            assert_eq!(stays, !is_known, "{fault:?}");
        }
    }
}
