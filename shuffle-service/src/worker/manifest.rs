//! What a worker writes down about a shuffle, so that its next life can serve what this one committed.
//!
//! One line that says how long the rest is and what its checksum is, then JSON: a person can read it, and one that was torn
//! is told from one that is whole (invariant 8). Files are named relative to the worker's folder, so a disk may be mounted
//! elsewhere.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use penstock_protocol::{
    frame,
    ids::{Epoch, Incarnation, PartitionIndex, ShuffleId},
};
use serde::{Deserialize, Serialize};

const FILE_NAME: &str = "manifest";
const MAGIC: &str = "penstock-manifest-1";

/// What a life calls its manifests. One that has not seen all of what former lives wrote leaves that as it is.
pub(super) fn file_name(life: Incarnation, is_all_seen: bool) -> String {
    if is_all_seen { FILE_NAME.to_owned() } else { format!("{FILE_NAME}-{life}") }
}

/// Whether a life gave this name to a manifest.
pub(super) fn is_file_name(file: &Path) -> bool {
    let life = file.file_name().and_then(|name| name.to_str()?.strip_prefix(FILE_NAME));
    life.is_some_and(|life| life.is_empty() || life.strip_prefix('-').is_some_and(is_number))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A shuffle as far as it is committed and out of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub shuffle: ShuffleId,
    /// Of what several manifests of a shuffle say of a location, the highest counts.
    pub version: Version,
    pub locations: Vec<LocationEntry>,
}

/// The life that wrote a manifest, and how many it had written of this shuffle before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Version(pub Incarnation, pub u64);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LocationEntry {
    pub partition: PartitionIndex,
    pub epoch: Epoch,
    /// The life that committed it, which is the one that readers name.
    pub life: Incarnation,
    pub parts: Vec<PartEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartEntry {
    pub start: u64,
    pub bytes: u64,
    pub crc32c: u32,
    /// Whether the bytes were synced before this was written; if not, their checksum has to prove them.
    pub synced: bool,
    pub name: PartName,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PartName {
    /// Below the worker's folder on any of its disks.
    File(PathBuf),
    /// In the object store.
    Object(String),
}

impl LocationEntry {
    /// Keys of its parts in the object store.
    pub fn objects(&self) -> impl Iterator<Item = &String> {
        self.parts.iter().filter_map(|part| match &part.name {
            PartName::Object(key) => Some(key),
            PartName::File(_) => None,
        })
    }
}

/// Why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    #[error("it does not begin like a manifest")]
    Head,
    #[error("it has {found} bytes and says that it has {said}")]
    Length { said: usize, found: usize },
    #[error("it does not match its checksum")]
    Checksum,
    #[error("it is not understood")]
    Content(#[from] serde_json::Error),
}

impl Manifest {
    pub fn encode(&self) -> Result<Bytes, ManifestError> {
        let content = serde_json::to_vec(self)?;
        let head = format!("{MAGIC} {} {:08x}\n", content.len(), frame::crc32c(&content));
        Ok([head.into_bytes(), content].concat().into())
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(ManifestError::Head)?;
        let (head, content) = (&bytes[..end], &bytes[end + 1..]);
        let (length, checksum) = head_fields(head).ok_or(ManifestError::Head)?;
        if content.len() != length {
            return Err(ManifestError::Length { said: length, found: content.len() });
        }
        if frame::crc32c(content) != checksum {
            return Err(ManifestError::Checksum);
        }
        Ok(serde_json::from_slice(content)?)
    }
}

fn head_fields(head: &[u8]) -> Option<(usize, u32)> {
    let mut words = std::str::from_utf8(head).ok()?.split(' ');
    if words.next()? != MAGIC {
        return None;
    }
    Some((words.next()?.parse().ok()?, u32::from_str_radix(words.next()?, 16).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use penstock_protocol::ids::{JobId, StageId};
    use uuid::Uuid;

    use super::*;

    fn manifest() -> Manifest {
        let part = |start, name| PartEntry { start, bytes: 10, crc32c: 7, synced: start == 0, name };
        let entry = LocationEntry {
            partition: PartitionIndex(3),
            epoch: Epoch(1),
            life: Incarnation(5),
            parts: vec![
                part(0, PartName::File("job/0-0/3-1-0".into())),
                part(10, PartName::Object("worker/job/0-0/3-1-10".into())),
            ],
        };
        Manifest {
            shuffle: ShuffleId { job: JobId(Uuid::from_u128(9)), exchange: StageId(2), run: 1 },
            version: Version(Incarnation(6), 4),
            locations: vec![entry],
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        assert_eq!(Manifest::parse(&manifest().encode().unwrap()).unwrap(), manifest());
    }

    // Invariant 8: torn files are detected.
    #[test]
    fn a_manifest_that_is_cut_or_changed_anywhere_is_refused() {
        let whole = manifest().encode().unwrap();
        for length in 0..whole.len() {
            assert!(Manifest::parse(&whole[..length]).is_err(), "cut to {length} bytes");
        }
        for position in 0..whole.len() {
            let mut changed = whole.to_vec();
            changed[position] ^= 0x10;
            let parsed = Manifest::parse(&changed);
            assert!(parsed.is_err(), "byte {position}: {parsed:?}");
        }
    }

    #[test]
    fn manifests_are_told_from_files_of_data_and_from_what_is_not_whole_yet() {
        let own = [file_name(Incarnation(7), true), file_name(Incarnation(7), false)];
        assert!(own.iter().all(|name| is_file_name(&Path::new("job/0-0").join(name))));
        for other in ["job/0-0/3-1-0", "job/0-0/manifest.new", "job/0-0/manifest-7.new", "manifest/0-0/x"] {
            assert!(!is_file_name(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn of_two_versions_the_later_life_counts_and_then_the_later_write() {
        assert!(Version(Incarnation(2), 0) > Version(Incarnation(1), 9));
        assert!(Version(Incarnation(2), 1) > Version(Incarnation(2), 0));
    }
}
