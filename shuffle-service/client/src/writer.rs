//! The output of one attempt: numbers batches, merges those of one worker into frames, and adds up totals.
//!
//! When batches come back, or epochs end, the writer stops, waits until nothing is in flight, asks for the next epochs of
//! all partitions concerned at once, and sends what came back first ([`moves`]). So the batches of a map lie in
//! ascending order over the epochs of a partition, whatever happened on the way.

mod moves;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use penstock_protocol::{
    effort::PushEffort,
    frame::{BATCH_HEADER_BYTES, BatchHeader, ENTRY_BYTES, FRAME_BYTES_MAX, PUSH_HEAD_BYTES, PushRecorder},
    ids::{AttemptId, BatchId, Epoch, PartitionIndex},
    shuffle::{MapOutput, PartitionTotals, ShuffleTarget, WorkerAddress},
};

use self::moves::Moves;
use crate::{
    error::PushError,
    metrics,
    push::{Progress, Pushers, Returned},
};

/// The longest payload of one batch.
pub const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX - PUSH_HEAD_BYTES - ENTRY_BYTES - BATCH_HEADER_BYTES;

/// Takes the payloads of one attempt. Dropped without [`Writer::finish`], its batches stay invisible, because the
/// attempt cannot be reported as a winner.
#[derive(Debug)]
pub struct Writer {
    pushers: Arc<Pushers>,
    attempt: AttemptId,
    /// The newest epoch of each partition that this writer knows.
    target: Arc<ShuffleTarget>,
    /// For each partition the position of its worker in `lanes`.
    lane_of: Vec<u32>,
    lanes: Vec<Lane>,
    positions: HashMap<Arc<WorkerAddress>, u32>,
    next_batch: u32,
    totals: Vec<PartitionTotals>,
    progress: Arc<Progress>,
    moves: Moves,
}

/// What waits to be sent to one worker.
#[derive(Debug)]
struct Lane {
    worker: Arc<WorkerAddress>,
    batches: PushRecorder,
    /// Whether some of them go to that worker only.
    some_alone: bool,
}

impl Writer {
    pub(crate) fn new(
        pushers: Arc<Pushers>,
        attempt: AttemptId,
        target: Arc<ShuffleTarget>,
    ) -> Result<Self, PushError> {
        let misplaced = (0..)
            .zip(&target.locations)
            .find(|(index, location)| location.partition != PartitionIndex(*index));
        if let Some((index, location)) = misplaced {
            let reason = format!("its target names partition {} at position {index}", location.partition);
            return Err(PushError::Unavailable { shuffle: target.shuffle, reason });
        }
        let mut writer = Self {
            progress: Arc::new(Progress::new(target.shuffle)),
            totals: vec![PartitionTotals::default(); target.locations.len()],
            lane_of: Vec::with_capacity(target.locations.len()),
            lanes: Vec::new(),
            positions: HashMap::new(),
            next_batch: 0,
            moves: Moves::default(),
            pushers,
            attempt,
            target,
        };
        for index in 0..writer.target.locations.len() {
            let worker = Arc::clone(&writer.target.locations[index].worker);
            let lane = writer.lane_to(&worker);
            writer.lane_of.push(lane);
        }
        Ok(writer)
    }

    fn lane_to(&mut self, worker: &Arc<WorkerAddress>) -> u32 {
        if let Some(lane) = self.positions.get(worker) {
            return *lane;
        }
        let lane = u32::try_from(self.lanes.len()).expect("fewer workers than locations");
        let (worker, batches) = (Arc::clone(worker), PushRecorder::default());
        self.lanes.push(Lane { worker: Arc::clone(&worker), batches, some_alone: false });
        self.positions.insert(worker, lane);
        lane
    }

    /// Hands over one payload; waits while the windows are full. After an error the attempt is lost.
    pub async fn push(
        &mut self,
        partition: PartitionIndex,
        rows: u32,
        payload: Bytes,
    ) -> Result<(), PushError> {
        self.check(partition, &payload)?;
        if self.progress.has_news()? {
            self.settle().await?;
        }
        let batch = BatchId(self.next_batch);
        self.next_batch =
            self.next_batch.checked_add(1).ok_or_else(|| self.no_room("it has too many batches"))?;
        let header = BatchHeader::of(self.attempt.task.index, self.attempt.number, batch, rows, &payload);
        let lane = self.make_room(partition, header.record_bytes()).await?;
        let epoch = self.epoch(partition, lane);
        self.lanes[lane].batches.add(partition, epoch, &header, payload);
        self.totals[partition.0 as usize].add(header.totals());
        self.send_if_full(lane).await
    }

    /// What it takes, until now and from now on.
    pub fn effort(&self) -> Arc<PushEffort> {
        Arc::clone(&self.progress.effort)
    }

    /// Sends what is left and waits until everything is acknowledged (invariant 10).
    pub async fn finish(mut self) -> Result<MapOutput, PushError> {
        while self.settle().await? {}
        let written = self.totals.iter().enumerate().filter(|(_, totals)| totals.batches > 0);
        let partitions = written.map(|(index, totals)| (PartitionIndex(index as u32), *totals)).collect();
        Ok(MapOutput { partitions })
    }

    /// Sends everything, waits until nothing is in flight, and takes up what came back. Whether there was any.
    async fn settle(&mut self) -> Result<bool, PushError> {
        for lane in 0..self.lanes.len() {
            self.send(lane).await?;
        }
        let news = self.progress.settled().await?;
        if news.is_empty() {
            return Ok(false);
        }
        let reviver = self.pushers.reviver.clone();
        let moved = self.moves.decide(reviver, &self.target, &news).await?;
        self.progress.effort.partitions_moved.add(moved.len() as u64);
        for location in moved {
            let lane = self.lane_to(&location.worker);
            let partition = location.partition.0 as usize;
            self.lane_of[partition] = lane;
            Arc::make_mut(&mut self.target).locations[partition] = location;
        }
        let mut returned = news.returned;
        // Before anything newer, in their order.
        returned.sort_by_key(|returned| returned.batch.header.batch);
        metrics::revived(returned.len());
        self.progress.effort.batches_revived.add(returned.len() as u64);
        let any = !returned.is_empty();
        for returned in returned {
            self.push_again(returned).await?;
        }
        Ok(any)
    }

    async fn push_again(&mut self, Returned { partition, batch, .. }: Returned) -> Result<(), PushError> {
        let lane = self.make_room(partition, batch.record.len()).await?;
        let epoch = self.epoch(partition, lane);
        self.lanes[lane].batches.add_record(partition, epoch, batch.record);
        self.send_if_full(lane).await
    }

    fn check(&self, partition: PartitionIndex, payload: &Bytes) -> Result<(), PushError> {
        if partition.0 as usize >= self.lane_of.len() {
            let reason = format!("it has no partition {partition}, only {}", self.lane_of.len());
            return Err(PushError::Unavailable { shuffle: self.target.shuffle, reason });
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(self.no_room(&format!(
                "a batch of {} bytes is larger than {PAYLOAD_BYTES_MAX}: make rows or batches smaller",
                payload.len()
            )));
        }
        Ok(())
    }

    fn no_room(&self, reason: &str) -> PushError {
        PushError::NoRoom { shuffle: self.target.shuffle, reason: reason.to_owned() }
    }

    /// The lane of a partition, with room for one more record in its frame.
    async fn make_room(
        &mut self,
        partition: PartitionIndex,
        record_bytes: usize,
    ) -> Result<usize, PushError> {
        let lane = self.lane_of[partition.0 as usize] as usize;
        if self.lanes[lane].batches.body_bytes() + ENTRY_BYTES + record_bytes > FRAME_BYTES_MAX {
            self.send(lane).await?;
        }
        Ok(lane)
    }

    /// The epoch that the next batch of a partition goes to, in the next frame of its lane.
    fn epoch(&mut self, partition: PartitionIndex, lane: usize) -> Epoch {
        let location = &self.target.locations[partition.0 as usize];
        self.lanes[lane].some_alone |= location.replica.is_none();
        location.epoch
    }

    async fn send_if_full(&mut self, lane: usize) -> Result<(), PushError> {
        match self.lanes[lane].batches.body_bytes() >= self.pushers.options.frame_bytes {
            true => self.send(lane).await,
            false => Ok(()),
        }
    }

    async fn send(&mut self, lane: usize) -> Result<(), PushError> {
        let lane = &mut self.lanes[lane];
        if lane.batches.is_empty() {
            return Ok(());
        }
        let batches = std::mem::take(&mut lane.batches);
        let options = &self.pushers.options;
        // What is on one worker only is lost if the worker is: nothing is gained by leaving it soon.
        let must_stay = std::mem::take(&mut lane.some_alone) || self.pushers.reviver.is_none();
        let patience =
            if must_stay { options.answer_timeout() } else { options.silence(self.moves.silences) };
        self.pushers.push(&lane.worker, self.target.shuffle, batches, patience, &self.progress).await
    }
}
