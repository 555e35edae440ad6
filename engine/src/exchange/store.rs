//! The shuffle as the engine sees it: a place to push payloads to and to read them from.
//!
//! Implementations: the remote shuffle service (in `executor` and `coordinator`) and [`super::memory`], which tests and
//! benches use. One test suite runs on all of them.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use penstock_batches::{BatchIoError, Codec, Decoder, Encoder};
use penstock_protocol::{
    effort::{FetchEffort, PushEffort},
    ids::{AttemptId, JobId, PartitionIndex, ShuffleId},
    shuffle::{MapOutput, PartitionSource, ShuffleTarget, Winner},
    token::JobToken,
};

/// Why shuffle data could not be written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ShuffleError {
    /// The data is gone or damaged: only running its producer again brings it back.
    #[error("shuffle {shuffle} is lost: {reason}")]
    Lost { shuffle: ShuffleId, reason: String },
    /// The service refused or could not be reached: another attempt may succeed.
    #[error("shuffle {shuffle} is not available: {reason}")]
    Unavailable { shuffle: ShuffleId, reason: String },
    /// A limit was hit, such as a full disk.
    #[error("shuffle {shuffle} ran out of room: {reason}")]
    NoRoom { shuffle: ShuffleId, reason: String },
}

/// Opens writers and readers of exchanges.
#[async_trait]
pub trait ShuffleStore: std::fmt::Debug + Send + Sync {
    /// A writer for one attempt of one map task. Dropping it without `finish` leaves nothing visible.
    async fn writer(
        &self,
        attempt: AttemptId,
        target: Arc<ShuffleTarget>,
    ) -> Result<Box<dyn ShuffleWriter>, ShuffleError>;

    /// The payloads of one partition: those of the winners, each exactly once, in ascending order of batch id within a
    /// map. Ends with an error unless rows, bytes and checksum add up to `source.totals`.
    fn read(
        &self,
        shuffle: ShuffleId,
        winners: Arc<[Winner]>,
        source: PartitionSource,
    ) -> BoxStream<'static, Result<Bytes, ShuffleError>>;

    /// What makes payloads of batches for this store.
    fn encoder(&self, codec: Codec) -> Result<Box<dyn BatchEncoder>, BatchIoError> {
        Ok(Box::new(Encoder::new(codec)?))
    }

    /// What makes batches of this store's payloads.
    fn decoder(&self, schema: SchemaRef) -> Box<dyn BatchDecoder> {
        Box::new(Decoder::new(schema))
    }

    /// From now on the job's data is read and written with this token, where anybody asks for one.
    fn grant(&self, _job: JobId, _token: JobToken) {}

    /// As [`Self::read`], and adds up what it takes, if that is more than a look into memory.
    fn read_counted(
        &self,
        shuffle: ShuffleId,
        winners: Arc<[Winner]>,
        source: PartitionSource,
        _effort: Arc<FetchEffort>,
    ) -> BoxStream<'static, Result<Bytes, ShuffleError>> {
        self.read(shuffle, winners, source)
    }
}

/// Makes payloads of the batches of one attempt.
pub trait BatchEncoder: Send {
    /// One payload of the rows of all pieces, in their order. There is at least one, and they may share buffers with others.
    fn encode(&mut self, pieces: &[RecordBatch]) -> Result<Bytes, BatchIoError>;
}

/// Makes batches of the payloads of one exchange; an error if one is damaged, never fewer rows.
pub trait BatchDecoder: Send {
    fn decode(&mut self, payload: Bytes) -> Result<Vec<RecordBatch>, BatchIoError>;
}

impl BatchEncoder for Encoder {
    fn encode(&mut self, pieces: &[RecordBatch]) -> Result<Bytes, BatchIoError> {
        Self::encode(self, pieces)
    }
}

impl BatchDecoder for Decoder {
    fn decode(&mut self, payload: Bytes) -> Result<Vec<RecordBatch>, BatchIoError> {
        Self::decode(self, payload)
    }
}

/// Takes the payloads of one attempt.
#[async_trait]
pub trait ShuffleWriter: Send {
    /// Hands over one payload; waits while the window is full.
    async fn push(
        &mut self,
        partition: PartitionIndex,
        rows: u32,
        payload: Bytes,
    ) -> Result<(), ShuffleError>;

    /// What it takes, until now and from now on; nothing if that is no more than a place in memory.
    fn effort(&self) -> Arc<PushEffort> {
        Arc::default()
    }

    /// Waits until every payload is acknowledged.
    async fn finish(self: Box<Self>) -> Result<MapOutput, ShuffleError>;
}
