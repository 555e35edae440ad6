//! The output of one attempt: numbers batches, merges those of one worker into frames, and adds up totals.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use penstock_protocol::{
    frame::{BATCH_HEADER_BYTES, BatchHeader, ENTRY_BYTES, FRAME_BYTES_MAX, PUSH_HEAD_BYTES, PushRecorder},
    ids::{AttemptId, BatchId, PartitionIndex},
    shuffle::{MapOutput, PartitionTotals, ShuffleTarget, WorkerAddress},
};

use crate::{
    error::PushError,
    push::{Progress, Pushers},
};

/// The longest payload of one batch.
pub const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX - PUSH_HEAD_BYTES - ENTRY_BYTES - BATCH_HEADER_BYTES;

/// Takes the payloads of one attempt. Dropped without [`Writer::finish`], its batches stay invisible, because the
/// attempt cannot be reported as a winner.
#[derive(Debug)]
pub struct Writer {
    pushers: Arc<Pushers>,
    attempt: AttemptId,
    target: Arc<ShuffleTarget>,
    /// For each partition the position of its worker in `lanes`.
    lane_of: Vec<u32>,
    lanes: Vec<Lane>,
    next_batch: u32,
    totals: Vec<PartitionTotals>,
    progress: Arc<Progress>,
}

/// What waits to be sent to one worker.
#[derive(Debug)]
struct Lane {
    worker: Arc<WorkerAddress>,
    batches: PushRecorder,
}

impl Writer {
    pub(crate) fn new(
        pushers: Arc<Pushers>,
        attempt: AttemptId,
        target: Arc<ShuffleTarget>,
    ) -> Result<Self, PushError> {
        let mut lanes: Vec<Lane> = Vec::new();
        let mut positions: HashMap<&WorkerAddress, u32> = HashMap::new();
        let mut lane_of = Vec::with_capacity(target.locations.len());
        for (index, location) in target.locations.iter().enumerate() {
            if location.partition.0 as usize != index {
                let reason = format!("its target names partition {} at position {index}", location.partition);
                return Err(PushError::Unavailable { shuffle: target.shuffle, reason });
            }
            lane_of.push(*positions.entry(&location.worker).or_insert_with(|| {
                lanes.push(Lane { worker: Arc::clone(&location.worker), batches: PushRecorder::default() });
                u32::try_from(lanes.len() - 1).expect("fewer workers than partitions")
            }));
        }
        drop(positions);
        let totals = vec![PartitionTotals::default(); lane_of.len()];
        let progress = Arc::new(Progress::new(target.shuffle));
        Ok(Self { pushers, attempt, target, lane_of, lanes, next_batch: 0, totals, progress })
    }

    /// Hands over one payload; waits while the windows are full. After an error the attempt is lost.
    pub async fn push(
        &mut self,
        partition: PartitionIndex,
        rows: u32,
        payload: Bytes,
    ) -> Result<(), PushError> {
        self.progress.check()?;
        let lane = self.lane(partition, &payload)?;
        let batch = BatchId(self.next_batch);
        self.next_batch =
            self.next_batch.checked_add(1).ok_or_else(|| self.no_room("it has too many batches"))?;
        let header = BatchHeader::of(self.attempt.task.index, self.attempt.number, batch, rows, &payload);
        let record_bytes = ENTRY_BYTES + header.record_bytes();
        if self.lanes[lane].batches.body_bytes() + record_bytes > FRAME_BYTES_MAX {
            self.send(lane).await?;
        }
        let epoch = self.target.locations[partition.0 as usize].epoch;
        self.lanes[lane].batches.add(partition, epoch, &header, payload);
        self.totals[partition.0 as usize].add(header.totals());
        if self.lanes[lane].batches.body_bytes() >= self.pushers.options.frame_bytes {
            self.send(lane).await?;
        }
        Ok(())
    }

    /// Sends what is left and waits until everything is acknowledged (invariant 10).
    pub async fn finish(mut self) -> Result<MapOutput, PushError> {
        self.progress.check()?;
        for lane in 0..self.lanes.len() {
            self.send(lane).await?;
        }
        self.progress.settled().await?;
        let written = self.totals.iter().enumerate().filter(|(_, totals)| totals.batches > 0);
        let partitions = written.map(|(index, totals)| (PartitionIndex(index as u32), *totals)).collect();
        Ok(MapOutput { partitions })
    }

    fn lane(&self, partition: PartitionIndex, payload: &Bytes) -> Result<usize, PushError> {
        let Some(lane) = self.lane_of.get(partition.0 as usize) else {
            let reason = format!("it has no partition {partition}, only {}", self.lane_of.len());
            return Err(PushError::Unavailable { shuffle: self.target.shuffle, reason });
        };
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(self.no_room(&format!(
                "a batch of {} bytes is larger than {PAYLOAD_BYTES_MAX}: make rows or batches smaller",
                payload.len()
            )));
        }
        Ok(*lane as usize)
    }

    fn no_room(&self, reason: &str) -> PushError {
        PushError::NoRoom { shuffle: self.target.shuffle, reason: reason.to_owned() }
    }

    async fn send(&mut self, lane: usize) -> Result<(), PushError> {
        let lane = &mut self.lanes[lane];
        if lane.batches.is_empty() {
            return Ok(());
        }
        let batches = std::mem::take(&mut lane.batches);
        self.pushers.push(&lane.worker, self.target.shuffle, batches, &self.progress).await
    }
}
