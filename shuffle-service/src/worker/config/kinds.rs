//! What some settings may be.

use std::{fmt, path::PathBuf};

use penstock_common::bytes::ByteSize;
use serde::{Deserialize, Serialize};

/// One disk of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskConfig {
    pub path: PathBuf,
    pub class: DiskClass,
    /// Bytes that this worker may use there; 0: all.
    pub quota: ByteSize,
    /// Bytes that stay free there; in place of `disk_reserve_bytes`.
    pub reserve: Option<ByteSize>,
}

/// Where data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    #[default]
    Memory,
    Disk,
    Object,
}

/// What leaves a full disk first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvictFirst {
    #[default]
    Oldest,
    Largest,
}

/// When data is made to survive a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    #[default]
    None,
    Commit,
    Batch,
}

/// What kind of disk it is: the faster ones are used first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskClass {
    Nvme,
    #[default]
    Ssd,
    Hdd,
}

impl fmt::Display for DiskClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvme => "nvme",
            Self::Ssd => "ssd",
            Self::Hdd => "hdd",
        })
    }
}

/// What is done for the next life of this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) struct Durability {
    pub keep: bool,
    pub(super) fsync: Fsync,
}

impl Durability {
    /// Whether a commit is answered only when its data is durable.
    pub fn at_commit(self) -> bool {
        self.keep && self.fsync != Fsync::None
    }

    pub fn at_each_write(self) -> bool {
        self.keep && self.fsync == Fsync::Batch
    }
}
