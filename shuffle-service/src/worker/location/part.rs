//! Where the bytes of a location lie once they have left memory.

use std::path::PathBuf;

/// A run of whole batches of one location in one file or object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::worker) struct Part {
    /// Where it begins within the location.
    pub start: u64,
    pub bytes: u64,
    /// CRC32C over all of them.
    pub crc32c: u32,
    /// Whether all of them survive a loss of power.
    pub synced: bool,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::worker) enum Place {
    Disk {
        /// Which of the worker's disks.
        disk: usize,
        file: PathBuf,
    },
    Object {
        key: String,
    },
}

/// A part that is about to be written: the caller says where to.
#[derive(Debug)]
pub(in crate::worker) struct NewPart<'a> {
    /// Where the part before it lies; choosing the same place again makes that part longer.
    pub last: Option<&'a Place>,
    pub start: u64,
    pub bytes: u64,
}
