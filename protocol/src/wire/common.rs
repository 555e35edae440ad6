//! Ids, locations, totals and winners: what several services share.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use crate::{
    decode::{DecodeError, each, job_id, optional, required},
    ids::{
        AttemptId, AttemptNumber, Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, StageId, TaskId,
        TaskIndex, WorkerId,
    },
    pb,
    shuffle::{Location, MapOutput, PartitionSource, PartitionTotals, ShuffleTarget, Winner, WorkerAddress},
};

/// A job's id on the wire: the 16 bytes of its UUID.
pub fn job_bytes(job: JobId) -> Bytes {
    Bytes::copy_from_slice(job.0.as_bytes())
}

impl From<TaskId> for pb::TaskId {
    fn from(task: TaskId) -> Self {
        Self { job: job_bytes(task.job), stage: task.stage.0, index: task.index.0 }
    }
}

impl TryFrom<pb::TaskId> for TaskId {
    type Error = DecodeError;
    fn try_from(task: pb::TaskId) -> Result<Self, DecodeError> {
        Ok(Self { job: job_id(&task.job, "job")?, stage: StageId(task.stage), index: TaskIndex(task.index) })
    }
}

impl From<AttemptId> for pb::AttemptId {
    fn from(attempt: AttemptId) -> Self {
        Self { task: Some(attempt.task.into()), number: attempt.number.0 }
    }
}

impl TryFrom<pb::AttemptId> for AttemptId {
    type Error = DecodeError;
    fn try_from(attempt: pb::AttemptId) -> Result<Self, DecodeError> {
        Ok(Self { task: required(attempt.task, "task")?, number: AttemptNumber(attempt.number) })
    }
}

impl From<ShuffleId> for pb::ShuffleId {
    fn from(shuffle: ShuffleId) -> Self {
        Self { job: job_bytes(shuffle.job), exchange: shuffle.exchange.0, run: shuffle.run }
    }
}

impl TryFrom<pb::ShuffleId> for ShuffleId {
    type Error = DecodeError;
    fn try_from(shuffle: pb::ShuffleId) -> Result<Self, DecodeError> {
        Ok(Self { job: job_id(&shuffle.job, "job")?, exchange: StageId(shuffle.exchange), run: shuffle.run })
    }
}

impl From<&WorkerAddress> for pb::WorkerAddress {
    fn from(address: &WorkerAddress) -> Self {
        Self {
            worker: address.worker.as_str().to_owned(),
            incarnation: address.incarnation.0,
            control: address.control.clone(),
            data: address.data.clone(),
        }
    }
}

impl TryFrom<pb::WorkerAddress> for WorkerAddress {
    type Error = DecodeError;
    fn try_from(address: pb::WorkerAddress) -> Result<Self, DecodeError> {
        for (text, field) in
            [(&address.worker, "worker"), (&address.control, "control"), (&address.data, "data")]
        {
            if text.is_empty() {
                return Err(DecodeError::missing(field));
            }
        }
        Ok(Self {
            worker: WorkerId::new(address.worker),
            incarnation: Incarnation(address.incarnation),
            control: address.control,
            data: address.data,
        })
    }
}

impl From<&Location> for pb::Location {
    fn from(location: &Location) -> Self {
        Self {
            partition: location.partition.0,
            epoch: location.epoch.0,
            worker: Some(location.worker.as_ref().into()),
            replica: location.replica.as_deref().map(Into::into),
            replica_unanswered: location.replica_unanswered,
        }
    }
}

impl TryFrom<pb::Location> for Location {
    type Error = DecodeError;
    fn try_from(location: pb::Location) -> Result<Self, DecodeError> {
        Ok(Self {
            partition: PartitionIndex(location.partition),
            epoch: Epoch(location.epoch),
            worker: Arc::new(required(location.worker, "worker")?),
            replica: optional(location.replica, "replica")?.map(Arc::new),
            replica_unanswered: location.replica_unanswered,
        })
    }
}

impl From<&ShuffleTarget> for pb::ShuffleTarget {
    fn from(target: &ShuffleTarget) -> Self {
        let mut workers = Vec::new();
        let mut positions: HashMap<&WorkerAddress, u32> = HashMap::new();
        let mut locations = Vec::with_capacity(target.locations.len());
        for Location { partition, epoch, worker, replica, .. } in &target.locations {
            let mut position = |worker| {
                let next = workers.len() as u32;
                *positions.entry(worker).or_insert_with(|| {
                    workers.push(worker.into());
                    next
                })
            };
            let worker = position(worker);
            let replica = replica.as_deref().map(position);
            locations.push(pb::PlacedPartition { partition: partition.0, epoch: epoch.0, worker, replica });
        }
        Self { shuffle: Some(target.shuffle.into()), workers, locations }
    }
}

impl TryFrom<pb::ShuffleTarget> for ShuffleTarget {
    type Error = DecodeError;
    fn try_from(target: pb::ShuffleTarget) -> Result<Self, DecodeError> {
        let workers: Vec<WorkerAddress> = each(target.workers, "workers")?;
        let workers: Vec<Arc<WorkerAddress>> = workers.into_iter().map(Arc::new).collect();
        let worker = |position: u32, field| {
            let worker = workers.get(position as usize);
            let invalid = || DecodeError::invalid(field, "the position of a worker in the message");
            worker.cloned().ok_or_else(invalid)
        };
        let place = |placed: pb::PlacedPartition| {
            let (partition, epoch) = (PartitionIndex(placed.partition), Epoch(placed.epoch));
            Ok(Location {
                replica: placed.replica.map(|at| worker(at, "locations.replica")).transpose()?,
                ..Location::on(partition, epoch, worker(placed.worker, "locations.worker")?)
            })
        };
        Ok(Self {
            shuffle: required(target.shuffle, "shuffle")?,
            locations: target.locations.into_iter().map(place).collect::<Result<_, _>>()?,
        })
    }
}

impl From<PartitionTotals> for pb::PartitionTotals {
    fn from(totals: PartitionTotals) -> Self {
        let PartitionTotals { rows, bytes, batches, checksum } = totals;
        Self { rows, bytes, batches, checksum }
    }
}

impl TryFrom<pb::PartitionTotals> for PartitionTotals {
    type Error = DecodeError;
    fn try_from(totals: pb::PartitionTotals) -> Result<Self, DecodeError> {
        let pb::PartitionTotals { rows, bytes, batches, checksum } = totals;
        Ok(Self { rows, bytes, batches, checksum })
    }
}

impl From<&MapOutput> for pb::MapOutput {
    fn from(output: &MapOutput) -> Self {
        let one = |(partition, totals): &(PartitionIndex, PartitionTotals)| pb::PartitionOutput {
            partition: partition.0,
            totals: Some((*totals).into()),
        };
        Self { partitions: output.partitions.iter().map(one).collect() }
    }
}

impl TryFrom<pb::MapOutput> for MapOutput {
    type Error = DecodeError;
    fn try_from(output: pb::MapOutput) -> Result<Self, DecodeError> {
        let one = |output: pb::PartitionOutput| {
            Ok((PartitionIndex(output.partition), required(output.totals, "partitions.totals")?))
        };
        Ok(Self { partitions: output.partitions.into_iter().map(one).collect::<Result<_, _>>()? })
    }
}

impl From<&Winner> for pb::Winner {
    fn from(winner: &Winner) -> Self {
        Self { map: winner.map.0, attempt: winner.attempt.0 }
    }
}

impl TryFrom<pb::Winner> for Winner {
    type Error = DecodeError;
    fn try_from(winner: pb::Winner) -> Result<Self, DecodeError> {
        Ok(Self { map: TaskIndex(winner.map), attempt: AttemptNumber(winner.attempt) })
    }
}

impl From<&PartitionSource> for pb::PartitionSource {
    fn from(source: &PartitionSource) -> Self {
        Self {
            partition: source.partition.0,
            locations: source.locations.iter().map(Into::into).collect(),
            totals: Some(source.totals.into()),
        }
    }
}

impl TryFrom<pb::PartitionSource> for PartitionSource {
    type Error = DecodeError;
    fn try_from(source: pb::PartitionSource) -> Result<Self, DecodeError> {
        Ok(Self {
            partition: PartitionIndex(source.partition),
            locations: each(source.locations, "locations")?,
            totals: required(source.totals, "totals")?,
        })
    }
}
