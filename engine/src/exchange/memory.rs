//! A shuffle within one process, for tests, benches and local runs. It keeps the promises of the remote one: winners
//! only, each payload once, totals compared.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use penstock_protocol::{
    ids::{AttemptId, AttemptNumber, BatchId, JobId, PartitionIndex, ShuffleId, TaskIndex},
    shuffle::{
        CommitVerdict, MapOutput, PartitionSource, PartitionTotals, ShuffleTarget, Winner, batch_checksum,
    },
};

use super::store::{ShuffleError, ShuffleStore, ShuffleWriter};

/// Payloads by shuffle, partition and attempt.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shuffles: Arc<Mutex<HashMap<ShuffleId, Partitions>>>,
}

type Partitions = BTreeMap<PartitionIndex, BTreeMap<(TaskIndex, AttemptNumber), Vec<Stored>>>;

#[derive(Debug, Clone)]
struct Stored {
    batch: BatchId,
    rows: u32,
    payload: Bytes,
}

impl MemoryStore {
    /// What a commit of `shuffle` tells its readers, from the winners and what they reported.
    pub fn sources(&self, partitions: u32, outputs: &[MapOutput]) -> Vec<PartitionSource> {
        let mut totals = vec![PartitionTotals::default(); partitions as usize];
        for (partition, add) in outputs.iter().flat_map(|output| &output.partitions) {
            totals[partition.0 as usize].add(*add);
        }
        let source = |(index, totals)| PartitionSource {
            partition: PartitionIndex(index as u32),
            locations: vec![],
            totals,
        };
        totals.into_iter().enumerate().map(source).collect()
    }

    /// Forgets a shuffle: later reads of it are an error.
    pub fn remove(&self, shuffle: ShuffleId) {
        self.lock().remove(&shuffle);
    }

    /// Forgets all shuffles of a job.
    pub fn remove_job(&self, job: JobId) {
        self.lock().retain(|shuffle, _| shuffle.job != job);
    }

    /// Whether anything was stored for a partition.
    pub fn verdict(&self, shuffle: ShuffleId, partition: PartitionIndex) -> CommitVerdict {
        match self.lock().get(&shuffle).and_then(|partitions| partitions.get(&partition)) {
            None => CommitVerdict::Empty,
            Some(attempts) => CommitVerdict::Committed {
                stored_bytes: attempts.values().flatten().map(|stored| stored.payload.len() as u64).sum(),
            },
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ShuffleId, Partitions>> {
        self.shuffles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn winners_payloads(
        &self,
        shuffle: ShuffleId,
        winners: &[Winner],
        partition: PartitionIndex,
    ) -> Vec<(TaskIndex, Stored)> {
        let shuffles = self.lock();
        let Some(attempts) = shuffles.get(&shuffle).and_then(|partitions| partitions.get(&partition)) else {
            return vec![];
        };
        let of = |winner: &Winner| {
            let map = winner.map;
            attempts
                .get(&(map, winner.attempt))
                .into_iter()
                .flatten()
                .map(move |stored| (map, stored.clone()))
        };
        winners.iter().flat_map(of).collect()
    }
}

#[async_trait]
impl ShuffleStore for MemoryStore {
    async fn writer(
        &self,
        attempt: AttemptId,
        target: Arc<ShuffleTarget>,
    ) -> Result<Box<dyn ShuffleWriter>, ShuffleError> {
        let writer = Writer {
            store: self.clone(),
            attempt,
            shuffle: target.shuffle,
            next: 0,
            pending: BTreeMap::new(),
        };
        Ok(Box::new(writer))
    }

    fn read(
        &self,
        shuffle: ShuffleId,
        winners: Arc<[Winner]>,
        source: PartitionSource,
    ) -> BoxStream<'static, Result<Bytes, ShuffleError>> {
        let payloads = self.winners_payloads(shuffle, &winners, source.partition);
        let mut found = PartitionTotals::default();
        for (map, stored) in &payloads {
            found.add(totals_of(*map, stored));
        }
        let partition = source.partition;
        let end = (found != source.totals).then(|| {
            let reason = format!("partition {partition} holds {found:?}, not {:?}", source.totals);
            Err(ShuffleError::Lost { shuffle, reason })
        });
        stream::iter(payloads.into_iter().map(|(_, stored)| Ok(stored.payload)).chain(end)).boxed()
    }
}

fn totals_of(map: TaskIndex, stored: &Stored) -> PartitionTotals {
    PartitionTotals {
        rows: u64::from(stored.rows),
        bytes: stored.payload.len() as u64,
        batches: 1,
        // Nothing can damage bytes in memory: their length stands for their checksum.
        checksum: batch_checksum(map, stored.batch, stored.payload.len() as u32),
    }
}

struct Writer {
    store: MemoryStore,
    attempt: AttemptId,
    shuffle: ShuffleId,
    next: u32,
    /// Nothing is visible before `finish`.
    pending: BTreeMap<PartitionIndex, Vec<Stored>>,
}

#[async_trait]
impl ShuffleWriter for Writer {
    async fn push(
        &mut self,
        partition: PartitionIndex,
        rows: u32,
        payload: Bytes,
    ) -> Result<(), ShuffleError> {
        let stored = Stored { batch: BatchId(self.next), rows, payload };
        self.next += 1;
        self.pending.entry(partition).or_default().push(stored);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<MapOutput, ShuffleError> {
        let map = self.attempt.task.index;
        let mut output = MapOutput::default();
        let mut shuffles = self.store.lock();
        let partitions = shuffles.entry(self.shuffle).or_default();
        for (partition, stored) in self.pending {
            let mut totals = PartitionTotals::default();
            stored.iter().for_each(|stored| totals.add(totals_of(map, stored)));
            output.partitions.push((partition, totals));
            partitions.entry(partition).or_default().insert((map, self.attempt.number), stored);
        }
        Ok(output)
    }
}
