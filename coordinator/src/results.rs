//! The rows of finished statements, from wherever they are, as Arrow batches.
//!
//! In: what the core says to keep. Out: a stream per statement, in task order, that ends with an error rather than
//! with fewer rows. Decided here: that inline rows have a memory limit, beyond which the oldest expire early.
//! Not here: formats, which the APIs choose.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use penstock_batches::{BatchIoError, Decoder};
use penstock_protocol::{
    ids::{JobId, StatementIndex},
    shuffle::{PartitionSource, ShuffleSource},
};

use crate::{
    job::StatementResult,
    metrics,
    shuffles::{ReadError, ShuffleReader},
};

pub type Batches = Pin<Box<dyn Stream<Item = Result<RecordBatch, ResultError>> + Send>>;

/// Why rows could not be streamed.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    #[error("the result cannot be read")]
    Read(#[from] ReadError),
    #[error("the result is damaged")]
    Damaged(#[from] BatchIoError),
    #[error("the result cannot be encoded")]
    Arrow(#[from] ArrowError),
}

/// A statement's rows, about to be streamed.
pub struct Rows {
    pub schema: SchemaRef,
    pub batches: Batches,
}

/// Everything that can be fetched now.
#[derive(Debug)]
pub struct Results {
    reader: Arc<dyn ShuffleReader>,
    inline_bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    results: BTreeMap<(JobId, StatementIndex), Entry>,
    inline_bytes: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    schema: SchemaRef,
    content: Content,
    inline_bytes: usize,
}

#[derive(Debug, Clone)]
enum Content {
    Result(Arc<StatementResult>),
    Batches(Arc<[RecordBatch]>),
}

impl Results {
    pub fn new(reader: Arc<dyn ShuffleReader>, inline_bytes_max: u64) -> Self {
        let inline_bytes_max = usize::try_from(inline_bytes_max).unwrap_or(usize::MAX);
        Self { reader, inline_bytes_max, kept: Mutex::default() }
    }

    /// Keeps the rows of a finished query until its job is forgotten.
    pub fn keep(
        &self,
        job: JobId,
        statement: StatementIndex,
        schema: SchemaRef,
        result: Arc<StatementResult>,
    ) {
        let inline_bytes = result.inline.iter().flat_map(|rows| &rows.batches).map(Bytes::len).sum();
        let content = Content::Result(result);
        self.insert(job, statement, Entry { schema, content, inline_bytes });
    }

    /// Keeps rows that were known at planning.
    pub fn keep_batches(
        &self,
        job: JobId,
        statement: StatementIndex,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) {
        let inline_bytes = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        let content = Content::Batches(batches.into());
        self.insert(job, statement, Entry { schema, content, inline_bytes });
    }

    /// Forgets everything of a job.
    pub fn forget(&self, job: JobId) {
        let mut kept = self.lock();
        let statements: Vec<_> = kept.of_job(job).collect();
        statements.into_iter().for_each(|key| kept.remove(key));
    }

    /// The statement's rows, if they are still kept; whoever knows the job knows why not.
    pub fn open(&self, job: JobId, statement: StatementIndex) -> Option<Rows> {
        let entry = self.lock().results.get(&(job, statement)).cloned()?;
        let batches = match &entry.content {
            Content::Batches(batches) => {
                stream::iter(batches.iter().cloned().map(Ok).collect::<Vec<_>>()).boxed()
            }
            Content::Result(result) => self.stream(&entry.schema, result),
        };
        Some(Rows { schema: entry.schema, batches })
    }

    fn stream(&self, schema: &SchemaRef, result: &StatementResult) -> Batches {
        let parts = parts_in_order(result);
        let (reader, schema) = (Arc::clone(&self.reader), Arc::clone(schema));
        stream::iter(parts)
            .map(move |part| decoded(part.payloads(reader.as_ref()), Arc::clone(&schema)))
            .flatten()
            .boxed()
    }

    fn insert(&self, job: JobId, statement: StatementIndex, entry: Entry) {
        let mut kept = self.lock();
        kept.remove((job, statement));
        kept.inline_bytes += entry.inline_bytes;
        kept.results.insert((job, statement), entry);
        kept.evict_beyond(self.inline_bytes_max, (job, statement));
        metrics::gauge_bytes(metrics::INLINE_RESULT_BYTES, kept.inline_bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn of_job(&self, job: JobId) -> impl Iterator<Item = (JobId, StatementIndex)> {
        let (first, last) = (StatementIndex(0), StatementIndex(u32::MAX));
        self.results.range((job, first)..=(job, last)).map(|(key, _)| *key)
    }

    fn remove(&mut self, key: (JobId, StatementIndex)) {
        if let Some(entry) = self.results.remove(&key) {
            self.inline_bytes -= entry.inline_bytes;
        }
    }

    /// Ids sort by submission, so the first entries are the oldest. The newest always stays.
    fn evict_beyond(&mut self, inline_bytes_max: usize, newest: (JobId, StatementIndex)) {
        while self.inline_bytes > inline_bytes_max {
            let oldest = self.results.iter().find(|(key, entry)| entry.inline_bytes > 0 && **key != newest);
            let Some(key) = oldest.map(|(key, _)| *key) else { return };
            tracing::warn!(job = %key.0, statement = %key.1, "inline results are full; the oldest expires early");
            self.remove(key);
        }
    }
}

/// The rows of one task.
#[derive(Debug)]
enum Part {
    Inline(Vec<Bytes>),
    Shuffled(Arc<ShuffleSource>, PartitionSource),
}

/// Task m's rows came inline or fill partition m.
fn parts_in_order(result: &StatementResult) -> Vec<Part> {
    let mut parts: BTreeMap<u32, Part> = BTreeMap::new();
    if let Some(source) = &result.shuffle {
        for partition in &source.partitions {
            parts.insert(partition.partition.0, Part::Shuffled(Arc::clone(source), partition.clone()));
        }
    }
    for inline in &result.inline {
        parts.insert(inline.task.0, Part::Inline(inline.batches.clone()));
    }
    parts.into_values().collect()
}

type Payloads = Pin<Box<dyn Stream<Item = Result<Bytes, ResultError>> + Send>>;

impl Part {
    fn payloads(self, reader: &dyn ShuffleReader) -> Payloads {
        match self {
            Self::Inline(batches) => stream::iter(batches.into_iter().map(Ok)).boxed(),
            Self::Shuffled(_, partition) if partition.locations.is_empty() => stream::empty().boxed(),
            Self::Shuffled(source, partition) => reader
                .read(source.shuffle, Arc::clone(&source.winners), partition)
                .map_err(ResultError::from)
                .boxed(),
        }
    }
}

fn decoded(payloads: Payloads, schema: SchemaRef) -> Batches {
    let mut decoder = Decoder::new(schema);
    payloads
        .map(move |payload| Ok::<_, ResultError>(decoder.decode(payload?)?))
        .map_ok(|batches| stream::iter(batches.into_iter().map(Ok::<_, ResultError>)))
        .try_flatten()
        .boxed()
}
