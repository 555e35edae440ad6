//! Commit verdicts and location keys of the shuffle service's control calls.

use crate::{
    decode::{DecodeError, Required},
    ids::{Epoch, PartitionIndex},
    pb,
    shuffle::{CommitVerdict, Location},
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
            CommitVerdict::Failed { reason } => Verdict::Failed(pb::CommitFailed { reason }),
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
