//! Commit verdicts, location keys and workers' standing of the shuffle service's control calls.

use crate::{
    decode::{DecodeError, Required},
    event::{DiskStanding, WorkerStanding},
    ids::{Epoch, PartitionIndex},
    pb,
    shuffle::{CommitVerdict, Location, WorkerAddress},
};

impl From<&Location> for pb::LocationKey {
    fn from(location: &Location) -> Self {
        Self { partition: location.partition.0, epoch: location.epoch.0 }
    }
}

impl From<(PartitionIndex, Epoch)> for pb::LocationKey {
    fn from((partition, epoch): (PartitionIndex, Epoch)) -> Self {
        Self { partition: partition.0, epoch: epoch.0 }
    }
}

impl From<pb::LocationKey> for (PartitionIndex, Epoch) {
    fn from(key: pb::LocationKey) -> Self {
        (PartitionIndex(key.partition), Epoch(key.epoch))
    }
}

impl From<CommitVerdict> for pb::CommitVerdict {
    fn from(verdict: CommitVerdict) -> Self {
        use pb::commit_verdict::Verdict;
        let verdict = match verdict {
            CommitVerdict::Committed { stored_bytes } => Verdict::Committed(pb::Committed { stored_bytes }),
            CommitVerdict::Empty => Verdict::Empty(pb::Empty {}),
            CommitVerdict::Failed { reason } | CommitVerdict::Unanswered { reason } => {
                Verdict::Failed(pb::CommitFailed { reason })
            }
        };
        Self { verdict: Some(verdict) }
    }
}

impl TryFrom<pb::CommitVerdict> for CommitVerdict {
    type Error = DecodeError;
    fn try_from(verdict: pb::CommitVerdict) -> Result<Self, DecodeError> {
        use pb::commit_verdict::Verdict;
        Ok(match verdict.verdict.required("verdict")? {
            Verdict::Committed(pb::Committed { stored_bytes }) => Self::Committed { stored_bytes },
            Verdict::Empty(_) => Self::Empty,
            Verdict::Failed(pb::CommitFailed { reason }) => Self::Failed { reason },
        })
    }
}

impl TryFrom<pb::WorkerInfo> for WorkerStanding {
    type Error = DecodeError;
    fn try_from(info: pb::WorkerInfo) -> Result<Self, DecodeError> {
        let address: WorkerAddress = info.address.required("address")?.try_into()?;
        let usage = info.usage.unwrap_or_default();
        Ok(Self {
            worker: address.worker,
            incarnation: address.incarnation,
            address: address.data,
            state: info.state,
            because: info.because,
            until_ms: (info.until_ms > 0).then_some(info.until_ms),
            zone: info.zone,
            rack: info.rack,
            tags: info.tags,
            heard_at_ms: info.last_heartbeat_ms,
            jobs: info.jobs,
            locations: usage.locations,
            open_locations: usage.open_locations,
            memory_used_bytes: usage.memory_used_bytes,
            memory_limit_bytes: usage.memory_limit_bytes,
            paused: usage.paused,
            flush_us_per_mib: usage.flush_us_per_mib,
            fetch_us_per_mib: usage.fetch_us_per_mib,
            disks: usage.disks.into_iter().map(DiskStanding::from).collect(),
            absent_since_ms: None,
        })
    }
}

impl From<pb::DiskUsage> for DiskStanding {
    fn from(disk: pb::DiskUsage) -> Self {
        Self {
            path: disk.path,
            class: disk.class,
            state: disk.state,
            used_bytes: disk.used_bytes,
            room_bytes: disk.room_bytes,
            errors: disk.errors,
        }
    }
}
