//! Requests for new epochs and their answers.

use super::EpochsRequest;
use crate::{
    decode::{DecodeError, Required, each, required},
    ids::{Epoch, PartitionIndex, WorkerId},
    pb,
    shuffle::{EndedEpoch, EpochEnd, ShuffleTarget},
};

impl From<EndedEpoch> for pb::EndedEpoch {
    fn from(ended: EndedEpoch) -> Self {
        let why = pb::EpochEnd::from(ended.why).into();
        Self { partition: ended.partition.0, epoch: ended.epoch.0, why }
    }
}

impl TryFrom<pb::EndedEpoch> for EndedEpoch {
    type Error = DecodeError;
    fn try_from(ended: pb::EndedEpoch) -> Result<Self, DecodeError> {
        let why = EpochEnd::from(ended.why());
        Ok(Self { partition: PartitionIndex(ended.partition), epoch: Epoch(ended.epoch), why })
    }
}

impl From<EpochEnd> for pb::EpochEnd {
    fn from(why: EpochEnd) -> Self {
        match why {
            EpochEnd::Grown => Self::Grown,
            EpochEnd::Full => Self::Full,
            EpochEnd::Closing => Self::Closing,
            EpochEnd::TurnedAway => Self::TurnedAway,
            EpochEnd::WorkerLost => Self::WorkerLost,
            EpochEnd::ReplicaLost => Self::ReplicaLost,
            EpochEnd::Damaged => Self::Damaged,
            EpochEnd::Other => Self::Unspecified,
        }
    }
}

impl From<pb::EpochEnd> for EpochEnd {
    fn from(why: pb::EpochEnd) -> Self {
        match why {
            pb::EpochEnd::Grown => Self::Grown,
            pb::EpochEnd::Full => Self::Full,
            pb::EpochEnd::Closing => Self::Closing,
            pb::EpochEnd::TurnedAway => Self::TurnedAway,
            pb::EpochEnd::WorkerLost => Self::WorkerLost,
            pb::EpochEnd::ReplicaLost => Self::ReplicaLost,
            pb::EpochEnd::Damaged => Self::Damaged,
            pb::EpochEnd::Unspecified => Self::Other,
        }
    }
}

impl From<EpochsRequest> for pb::EpochsRequest {
    fn from(request: EpochsRequest) -> Self {
        Self {
            request: request.request,
            shuffle: Some(request.shuffle.into()),
            ended: request.ended.into_iter().map(Into::into).collect(),
            suspects: request.suspects.iter().map(|worker| worker.as_str().to_owned()).collect(),
        }
    }
}

impl TryFrom<pb::EpochsRequest> for EpochsRequest {
    type Error = DecodeError;
    fn try_from(request: pb::EpochsRequest) -> Result<Self, DecodeError> {
        Ok(Self {
            request: request.request,
            shuffle: required(request.shuffle, "shuffle")?,
            ended: each(request.ended, "ended")?,
            suspects: request.suspects.into_iter().map(WorkerId::new).collect(),
        })
    }
}

pub(super) fn answer(request: u64, outcome: Result<ShuffleTarget, String>) -> pb::EpochsAnswer {
    use pb::epochs_answer::Outcome;
    let outcome = match outcome {
        Ok(target) => Outcome::Target((&target).into()),
        Err(refused) => Outcome::Refused(refused),
    };
    pb::EpochsAnswer { request, outcome: Some(outcome) }
}

pub(super) fn outcome(answer: pb::EpochsAnswer) -> Result<(u64, Result<ShuffleTarget, String>), DecodeError> {
    use pb::epochs_answer::Outcome;
    let outcome = match answer.outcome.required("outcome")? {
        Outcome::Target(target) => Ok(required(Some(target), "target")?),
        Outcome::Refused(refused) => Err(refused),
    };
    Ok((answer.request, outcome))
}
