//! What lies on the disks now: files, and manifests among them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::worker::{
    disks::Disks,
    manifest::{self, Manifest},
};

/// Listing a disk may take so many times as long as any other call: it looks at each file.
const LISTING: u32 = 4;

/// A file as it was found.
pub(super) struct Found {
    pub disk: usize,
    pub file: PathBuf,
    pub bytes: u64,
}

/// Files by their names below the worker's folder, which may be there on several disks.
pub(super) type Files = BTreeMap<PathBuf, Vec<Found>>;

/// What was found.
pub(super) struct Seen {
    pub found: Files,
    /// Every disk could be looked through.
    pub is_everything: bool,
    /// On one of them there was nothing.
    pub has_empty: bool,
}

/// The manifests, and whether these are all. A damaged one names nothing; one that a disk does not give now may name anything,
/// and the next life may read it.
pub(super) async fn read_manifests(disks: &Disks, found: &Files) -> (Vec<Manifest>, bool) {
    let (mut manifests, mut are_all_read) = (Vec::new(), true);
    let named = found.iter().filter(|(name, _)| manifest::is_file_name(name));
    let all: Vec<&Found> = named.flat_map(|(_, files)| files).collect();
    for file in all {
        let bytes = match read_whole(disks, file).await {
            Ok(bytes) => bytes,
            // Released since it was found.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                tracing::warn!(file = %file.file.display(), %error, "a manifest cannot be read");
                are_all_read = false;
                continue;
            }
        };
        match Manifest::parse(&bytes) {
            Ok(manifest) => manifests.push(manifest),
            Err(error) => tracing::warn!(file = %file.file.display(), %error, "a manifest is not usable"),
        }
    }
    (manifests, are_all_read)
}

pub(super) async fn find_files(disks: &Disks) -> Seen {
    let mut seen = Seen { found: Files::new(), is_everything: true, has_empty: false };
    let listed = disks.volumes.iter().enumerate().map(|(disk, volume)| async move {
        if !volume.is_taken_over() {
            return None;
        }
        let (files, folder) = (Arc::clone(&disks.disk), volume.folder.clone());
        let patience = disks.hang() * LISTING;
        let listed = disks.ask(disk, "list", patience, async move { files.files(&folder).await }).await;
        listed
            .inspect_err(|error| {
                tracing::warn!(disk = %volume.folder.display(), %error, "what is on a disk cannot be listed");
            })
            .ok()
    });
    let listed = futures::future::join_all(listed).await;
    for (disk, (volume, files)) in disks.volumes.iter().zip(listed).enumerate() {
        let Some(files) = files else {
            seen.is_everything = false;
            continue;
        };
        let mut is_empty = true;
        for (file, bytes) in files {
            let Ok(name) = file.strip_prefix(&volume.folder).map(Path::to_owned) else { continue };
            // Directly in the folder are only files of the disk itself.
            if name.components().count() > 1 {
                is_empty = false;
                seen.found.entry(name).or_default().push(Found { disk, file, bytes });
            }
        }
        seen.has_empty |= is_empty;
    }
    seen
}

async fn read_whole(disks: &Disks, found: &Found) -> io::Result<Bytes> {
    let length = usize::try_from(found.bytes).map_err(io::Error::other)?;
    let (files, file) = (Arc::clone(&disks.disk), found.file.clone());
    let read = async move { files.open(&file).await?.read_at(0, length).await };
    disks.ask(found.disk, "read", disks.hang(), read).await
}
