//! Exchanges that never leave the process: the engine's store in memory, with the owner's side that a coordinator asks for.
//!
//! Of batches that are kept as they are, the store holds tickets: a payload is a number, and whoever drops it drops the
//! batch.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
    error::ArrowError,
};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use penstock_batches::{BatchIoError, Codec, Encoder};
use penstock_coordinator::{
    cluster_log::Workers,
    job::JobFailure,
    shuffles::{ReadError, ShuffleOwner, ShuffleReader},
};
use penstock_engine::exchange::{
    memory::MemoryStore,
    store::{BatchDecoder, BatchEncoder, ShuffleError, ShuffleStore, ShuffleWriter},
    whole,
};
use penstock_protocol::{
    event::WorkerStanding,
    ids::{AttemptId, Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, WorkerId},
    shuffle::{CommitVerdict, Location, PartitionSource, ShuffleTarget, Winner, WorkerAddress},
    task::FailureClass,
};

#[derive(Debug, Clone)]
pub struct InMemory {
    store: MemoryStore,
    /// None where batches are encoded.
    batches: Option<Cloakroom>,
    worker: Arc<WorkerAddress>,
}

impl InMemory {
    pub fn of_batches() -> Self {
        Self::new(Some(Cloakroom::default()))
    }

    pub fn of_payloads() -> Self {
        Self::new(None)
    }

    fn new(batches: Option<Cloakroom>) -> Self {
        let worker = WorkerAddress {
            worker: WorkerId::from("memory"),
            incarnation: Incarnation(0),
            // Nobody connects, but a message without addresses is refused.
            control: "memory".to_owned(),
            data: "memory".to_owned(),
        };
        Self { store: MemoryStore::default(), batches, worker: Arc::new(worker) }
    }
}

#[async_trait]
impl ShuffleStore for InMemory {
    async fn writer(
        &self,
        attempt: AttemptId,
        target: Arc<ShuffleTarget>,
    ) -> Result<Box<dyn ShuffleWriter>, ShuffleError> {
        self.store.writer(attempt, target).await
    }

    fn read(
        &self,
        shuffle: ShuffleId,
        winners: Arc<[Winner]>,
        source: PartitionSource,
    ) -> BoxStream<'static, Result<Bytes, ShuffleError>> {
        ShuffleStore::read(&self.store, shuffle, winners, source)
    }

    fn encoder(&self, _: Codec) -> Result<Box<dyn BatchEncoder>, BatchIoError> {
        Ok(match &self.batches {
            Some(batches) => Box::new(batches.clone()),
            // Nobody compresses what stays in memory.
            None => Box::new(Encoder::new(Codec::None)?),
        })
    }

    fn decoder(&self, schema: SchemaRef) -> Box<dyn BatchDecoder> {
        match &self.batches {
            Some(batches) => Box::new(Collector { batches: batches.clone(), schema }),
            None => self.store.decoder(schema),
        }
    }
}

#[async_trait]
impl ShuffleOwner for InMemory {
    async fn reserve(&self, shuffle: ShuffleId, partitions: u32) -> Result<ShuffleTarget, JobFailure> {
        let location = |index| Location::on(PartitionIndex(index), Epoch(0), Arc::clone(&self.worker));
        Ok(ShuffleTarget { shuffle, locations: (0..partitions).map(location).collect() })
    }

    async fn extend(
        &self,
        _: ShuffleId,
        _: &[(PartitionIndex, Epoch)],
        _: &[WorkerId],
    ) -> Result<Vec<Location>, JobFailure> {
        Err(JobFailure::new(FailureClass::Internal, "epochs in memory never end", None))
    }

    async fn commit(
        &self,
        target: &ShuffleTarget,
        _: &[Winner],
    ) -> Result<Vec<(Location, CommitVerdict)>, JobFailure> {
        let verdict =
            |location: &Location| (location.clone(), self.store.verdict(target.shuffle, location.partition));
        Ok(target.locations.iter().map(verdict).collect())
    }

    async fn release(&self, shuffles: &[ShuffleId]) {
        shuffles.iter().for_each(|shuffle| self.store.remove(*shuffle));
    }

    async fn release_job(&self, job: JobId) {
        self.store.remove_job(job);
    }

    async fn keep_alive(&self, _: &[JobId]) {}
}

#[async_trait]
impl Workers for InMemory {
    async fn workers(&self) -> Result<Vec<WorkerStanding>, String> {
        Ok(Vec::new())
    }
}

impl ShuffleReader for InMemory {
    fn read(
        &self,
        shuffle: ShuffleId,
        winners: Arc<[Winner]>,
        source: PartitionSource,
    ) -> BoxStream<'static, Result<Bytes, ReadError>> {
        let lost = move |error: ShuffleError| ReadError::Lost { shuffle, reason: error.to_string() };
        ShuffleStore::read(&self.store, shuffle, winners, source).map_err(lost).boxed()
    }
}

/// Batches by the number of their ticket. A cheap handle.
#[derive(Debug, Clone, Default)]
struct Cloakroom {
    batches: Arc<Mutex<HashMap<u64, RecordBatch>>>,
    next: Arc<AtomicU64>,
}

impl Cloakroom {
    fn batches(&self) -> MutexGuard<'_, HashMap<u64, RecordBatch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BatchEncoder for Cloakroom {
    fn encode(&mut self, pieces: &[RecordBatch]) -> Result<Bytes, BatchIoError> {
        let batch = whole(pieces).map_err(|error| ArrowError::from_external_error(Box::new(error)))?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.batches().insert(number, batch);
        Ok(Bytes::from_owner(Ticket { number: number.to_le_bytes(), batches: self.clone() }))
    }
}

/// A payload.
struct Ticket {
    number: [u8; 8],
    batches: Cloakroom,
}

impl AsRef<[u8]> for Ticket {
    fn as_ref(&self) -> &[u8] {
        &self.number
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let batch = self.batches.batches().remove(&u64::from_le_bytes(self.number));
        // Not while others wait for the lock.
        drop(batch);
    }
}

struct Collector {
    batches: Cloakroom,
    schema: SchemaRef,
}

impl BatchDecoder for Collector {
    fn decode(&mut self, payload: Bytes) -> Result<Vec<RecordBatch>, BatchIoError> {
        let number = payload.as_ref().try_into().map(u64::from_le_bytes);
        let batch = number.ok().and_then(|number| self.batches.batches().get(&number).cloned());
        let batch = batch.ok_or(BatchIoError::Damaged { reason: "no batch belongs to this ticket" })?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let (_, columns, _) = batch.into_parts();
        Ok(vec![RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?])
    }
}
