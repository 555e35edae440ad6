//! The object store below the disks: any store that OpenDAL knows.
//!
//! One part of a location is one object, written whole and never changed. Not on the path of a push.

mod error;

use std::{
    collections::HashSet,
    future::IntoFuture,
    io,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{TryFutureExt, TryStreamExt, future::BoxFuture};
use opendal::{
    ErrorKind, Operator, Writer,
    layers::{RetryEvent, RetryLayer, TimeoutLayer},
};
use penstock_protocol::{
    frame,
    ids::{Incarnation, WorkerId},
};
use tokio::time::Instant;

use self::error::failed;
use super::unwanted::Unwanted;
use crate::{disk::StoredFile, metrics};

/// A request costs a round trip, so more is read than is asked for.
const READ_AHEAD_BYTES: u64 = 1 << 20;
/// Above what S3 asks of a part of an upload at least.
const UPLOAD_CHUNK_BYTES: usize = 8 << 20;
const RETRIES: u32 = 3;
/// The pause before the first retry is this part of a call's time; each further one is twice as long.
const PAUSE_PART: u32 = 60;

#[derive(Debug, Clone)]
pub(super) struct Objects {
    store: Operator,
    /// The same store for reads, which move little: all tries together have the time of one call. Whoever reads can then turn
    /// to another copy.
    reads: Operator,
    /// Of one call.
    timeout: Duration,
    /// Each worker has a folder of its own.
    folder: String,
    /// Below it, so has each life: no late call that means an object of another life meets one of this.
    own: String,
    /// Names that this life has given.
    given: Arc<AtomicU64>,
    unwanted: Arc<Unwanted>,
}

/// The store at `location`, which is an OpenDAL URL or a folder; none if it is empty.
pub(super) fn open(location: &str) -> Result<Option<Operator>, opendal::Error> {
    if location.is_empty() {
        return Ok(None);
    }
    if location.contains("://") {
        return Operator::from_uri(location).map(Some);
    }
    Operator::new(opendal::services::Fs::default().root(location)).map(Some)
}

impl Objects {
    /// What one life of a worker makes of a store.
    pub fn new(store: Operator, timeout: Duration, worker: &WorkerId, life: Incarnation) -> Self {
        let reads = patient(store.clone(), timeout / (RETRIES + 1));
        let (folder, own) = (format!("{worker}/"), format!("{worker}/{life}/"));
        let (given, unwanted) = Default::default();
        Self { store: patient(store, timeout), reads, timeout, folder, own, given, unwanted }
    }

    /// Of one call.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A name in the store that was never given before: what is deleted late is nothing that was made since. `name` is what
    /// a file would be called below the worker's folder on a disk.
    pub fn key(&self, name: &Path) -> String {
        format!("{}{}-{}", self.own, name.display(), self.given.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether this life made it, or a former one with the same number of which nothing is known any more.
    pub fn is_of_this_life(&self, key: &str) -> bool {
        key.starts_with(&self.own)
    }

    pub async fn put(&self, key: &str, pieces: Vec<Bytes>) -> io::Result<()> {
        let pieces = opendal::Buffer::from_iter(pieces);
        self.upload(key, async |writer| writer.write(pieces).await.map_err(failed)).await
    }

    /// Writes an object of so many bytes from what `read` gives, by offset and length, and returns the checksum of what went
    /// into it.
    pub async fn put_read<'a>(
        &self,
        key: &str,
        bytes: u64,
        read: impl Fn(u64, usize) -> BoxFuture<'a, io::Result<Bytes>>,
    ) -> io::Result<u32> {
        let copy = async |writer: &mut Writer| {
            let (mut checksum, mut offset) = (0, 0);
            while offset < bytes {
                let length = (bytes - offset).min(UPLOAD_CHUNK_BYTES as u64);
                let chunk = read(offset, usize::try_from(length).map_err(io::Error::other)?).await?;
                checksum = frame::crc32c_append(checksum, &chunk);
                writer.write(chunk).await.map_err(failed)?;
                offset += length;
            }
            Ok(checksum)
        };
        self.upload(key, copy).await
    }

    /// Has objects deleted that nobody will ask for any more, or that may be there. Those that are missing are fine.
    pub fn discard(&self, keys: impl IntoIterator<Item = String>) {
        self.unwanted.add(keys);
    }

    /// What waits for its deletion.
    pub fn unwanted(&self) -> &Unwanted {
        &self.unwanted
    }

    /// Makes an object of what `fill` writes, in chunks that each have the time of a call. Of one that fails nothing stays:
    /// neither pieces, as far as the store is there to give them up, nor what it made although its answer was lost or late.
    async fn upload<T>(
        &self,
        key: &str,
        fill: impl AsyncFnOnce(&mut Writer) -> io::Result<T>,
    ) -> io::Result<T> {
        let started = Instant::now();
        let mut writer = self.store.writer_with(key).chunk(UPLOAD_CHUNK_BYTES).await.map_err(failed)?;
        let filled = match fill(&mut writer).await {
            Ok(filled) => writer.close().await.map(|_| filled).map_err(failed),
            Err(error) => Err(error),
        };
        metrics::object_call("write", started.elapsed(), filled.is_err());
        if filled.is_err() {
            if let Ok(Err(error)) = tokio::time::timeout(self.timeout, writer.abort()).await {
                tracing::debug!(key, %error, "what was uploaded of an object stays in the store");
            }
            self.unwanted.add_twice(key.to_owned(), Instant::now() + self.timeout);
        }
        filled
    }

    pub fn file(&self, key: &str, bytes: u64) -> Arc<dyn StoredFile> {
        Arc::new(Object { store: self.reads.clone(), key: key.to_owned(), bytes, ahead: Mutex::default() })
    }

    /// One that is missing is fine.
    pub async fn delete(&self, keys: Vec<String>) -> io::Result<()> {
        counted("delete", self.store.delete_iter(keys).map_err(failed)).await
    }

    /// Everything of this worker, whichever life made it.
    pub async fn list(&self) -> io::Result<HashSet<String>> {
        counted("list", self.list_all()).await
    }

    async fn list_all(&self) -> io::Result<HashSet<String>> {
        let mut objects = HashSet::new();
        let mut entries = match self.store.lister_with(&self.folder).recursive(true).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(objects),
            entries => entries.map_err(failed)?,
        };
        while let Some(entry) = entries.try_next().await.map_err(failed)? {
            if entry.metadata().is_file() {
                objects.insert(entry.path().to_owned());
            }
        }
        Ok(objects)
    }
}

/// Shows how long a call takes, and whether it fails.
async fn counted<T>(operation: &'static str, call: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let started = Instant::now();
    let outcome = call.await;
    metrics::object_call(operation, started.elapsed(), outcome.is_err());
    outcome
}

/// Each try has its time, so what hangs is tried again like what failed.
fn patient(store: Operator, timeout: Duration) -> Operator {
    let told = |event: RetryEvent<'_>| {
        let error = event.err.message();
        tracing::info!(operation = %event.op, error, "a call to the object store is tried again");
    };
    let retries = RetryLayer::new().with_max_times(RETRIES as usize).with_min_delay(timeout / PAUSE_PART);
    store
        .layer(TimeoutLayer::new().with_timeout(timeout).with_io_timeout(timeout))
        .layer(retries.with_jitter().with_notify(told))
}

/// An object, and what was read of it last.
#[derive(Debug)]
struct Object {
    store: Operator,
    key: String,
    bytes: u64,
    ahead: Mutex<(u64, Bytes)>,
}

impl Object {
    fn ahead(&self, range: &Range<u64>) -> Option<Bytes> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let from = usize::try_from(range.start.checked_sub(ahead.0)?).ok()?;
        let to = usize::try_from(range.end.checked_sub(ahead.0)?).ok()?;
        (to <= ahead.1.len()).then(|| ahead.1.slice(from..to))
    }
}

#[async_trait]
impl StoredFile for Object {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let wanted = offset..offset + length as u64;
        if let Some(bytes) = self.ahead(&wanted) {
            return Ok(bytes);
        }
        let end = wanted.end.max((offset + READ_AHEAD_BYTES).min(self.bytes));
        let read = self.store.read_with(&self.key).range(offset..end).into_future().map_err(failed);
        let read = counted("read", read).await?;
        let read = read.to_bytes();
        if read.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = read.slice(..length);
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = (offset, read);
        Ok(bytes)
    }
}
