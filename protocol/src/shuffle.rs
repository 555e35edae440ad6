//! What owner, clients and workers of the shuffle service say about a shuffle's data.
//!
//! Payload is opaque bytes here; rows are counted by whoever pushes them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{AttemptNumber, Epoch, Incarnation, PartitionIndex, ShuffleId, TaskIndex, WorkerId};

/// Where one life of a worker is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerAddress {
    pub worker: WorkerId,
    pub incarnation: Incarnation,
    /// `host:port` of the gRPC control service.
    pub control: String,
    /// `host:port` of the framed TCP data plane.
    pub data: String,
}

/// One partition epoch: on one worker, or on two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    pub partition: PartitionIndex,
    pub epoch: Epoch,
    /// The one that clients push to.
    #[serde(with = "crate::arc")]
    pub worker: Arc<WorkerAddress>,
    /// Where `worker` sends a second copy of everything before it acknowledges.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::arc::option")]
    pub replica: Option<Arc<WorkerAddress>>,
    /// Of what readers get: whether nobody knows if the replica is committed ([`CommitVerdict::Unanswered`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replica_unanswered: bool,
}

impl Location {
    /// A location that one worker holds alone.
    pub fn on(partition: PartitionIndex, epoch: Epoch, worker: Arc<WorkerAddress>) -> Self {
        Self { partition, epoch, worker, replica: None, replica_unanswered: false }
    }

    /// The workers that hold it, the primary first.
    pub fn workers(&self) -> impl Iterator<Item = &Arc<WorkerAddress>> {
        std::iter::once(&self.worker).chain(&self.replica)
    }

    /// Each of its copies as a location of its own.
    pub fn copies(&self) -> impl Iterator<Item = Self> + '_ {
        self.workers().map(|worker| Self::on(self.partition, self.epoch, Arc::clone(worker)))
    }
}

/// An epoch that takes nothing more; its partition needs the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EndedEpoch {
    pub partition: PartitionIndex,
    pub epoch: Epoch,
    /// As the writer saw it that asks.
    pub why: EpochEnd,
}

/// Why an epoch takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpochEnd {
    /// It has grown to the size at which partitions are split; what was sent was taken.
    Grown,
    /// It has grown as far as it may, or disk and memory are full.
    Full,
    /// Its worker closes it or leaves.
    Closing,
    /// Its worker has no connection left for the writer.
    TurnedAway,
    /// Its worker does not answer, or lost what it held.
    WorkerLost,
    /// The second copy was not stored.
    ReplicaLost,
    /// Bytes arrived damaged.
    Damaged,
    /// Something that only a newer version knows.
    #[default]
    #[serde(other)]
    Other,
}

/// Where the map tasks of a shuffle push: `locations[p]` takes partition `p` in the newest epoch that the owner knew. For a
/// commit: all locations that were ever handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuffleTarget {
    pub shuffle: ShuffleId,
    pub locations: Vec<Location>,
}

/// Rows, bytes and checksum of a set of batches; adding totals of disjoint sets gives the totals of their union.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionTotals {
    pub rows: u64,
    /// Payload bytes as stored, batch headers not included.
    pub bytes: u64,
    pub batches: u64,
    /// Sum modulo 2^64 of [`batch_checksum`] over the batches: independent of their order, not of their number.
    pub checksum: u64,
}

impl PartitionTotals {
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.batches += other.batches;
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }
}

/// What one batch adds to [`PartitionTotals::checksum`]: its CRC32C spread over 64 bits together with its identity,
/// so that swapping the bytes of two batches does not cancel out. The mixer is the finaliser of SplitMix64
/// (Steele, Lea and Flood, OOPSLA 2014).
pub fn batch_checksum(map: TaskIndex, batch: crate::ids::BatchId, crc32c: u32) -> u64 {
    let mut z =
        (u64::from(map.0) << 32 | u64::from(batch.0)).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(crc32c);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What one attempt of a map task wrote: totals for each partition that got at least one batch, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MapOutput {
    pub partitions: Vec<(PartitionIndex, PartitionTotals)>,
}

/// The attempt whose batches count for one map task. Set once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Winner {
    pub map: TaskIndex,
    pub attempt: AttemptNumber,
}

/// A worker's final word on one location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitVerdict {
    /// Everything acknowledged is stored: bytes with batch headers.
    Committed {
        stored_bytes: u64,
    },
    /// Reserved, and nothing was ever accepted.
    Empty,
    Failed {
        reason: String,
    },
    /// Said by the owner: the worker did not answer in time. It proves nothing, and may be committed all the same.
    Unanswered {
        reason: String,
    },
}

impl CommitVerdict {
    /// Whether it says for good what the copy holds.
    pub fn is_promise(&self) -> bool {
        matches!(self, Self::Committed { .. } | Self::Empty)
    }
}

/// What a reader of one partition needs: where its batches are and what they must add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionSource {
    pub partition: PartitionIndex,
    /// Every epoch that has something, ascending, each with its committed copies; none if the partition is proved empty.
    pub locations: Vec<Location>,
    /// Over the winners' batches; a reader that finds anything else reports a failure, never fewer rows.
    pub totals: PartitionTotals,
}

/// A committed shuffle, or the part of it that one task reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuffleSource {
    pub shuffle: ShuffleId,
    /// One winner for each map task; batches of other attempts are skipped.
    #[serde(with = "crate::arc")]
    pub winners: Arc<[Winner]>,
    pub partitions: Vec<PartitionSource>,
}
