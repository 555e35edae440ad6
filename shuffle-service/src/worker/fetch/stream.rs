//! One reader's way through one location: first what is on disk, then what is in memory, whole batches only.

use std::{io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use penstock_protocol::frame::{BATCH_HEADER_BYTES, BatchHeader, FrameError, Open, Refusal};

use crate::{
    disk::{Disk, StoredFile},
    worker::{
        location::{Chunk, Location},
        pace::Pace,
        store::Store,
    },
};

/// Bytes of one stream that are read at once.
const CHUNK_BYTES: u64 = 512 << 10;

pub(super) struct OutgoingStream {
    pub number: u32,
    location: Result<Arc<Location>, Refusal>,
    offset: u64,
    /// May be overdrawn by one batch.
    credit: i64,
    file: Option<Arc<dyn StoredFile>>,
    pace: Arc<Pace>,
}

/// What a stream sends next.
pub(super) enum Next {
    Batches { batches: Vec<Bytes>, bytes: u64 },
    End,
    Refused(Refusal, String),
}

impl OutgoingStream {
    pub fn new(open: Open, store: &Store) -> Self {
        let location = if open.incarnation == store.incarnation {
            store.location(open.shuffle, (open.partition, open.epoch))
        } else {
            Err(Refusal::OtherIncarnation)
        };
        Self {
            number: open.stream,
            location,
            offset: open.offset,
            credit: open.credit.into(),
            file: None,
            pace: Arc::clone(&store.pace),
        }
    }

    pub fn add_credit(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(bytes.into());
    }

    pub fn may_send(&self) -> bool {
        self.credit > 0
    }

    pub async fn next(&mut self, disk: &dyn Disk) -> Next {
        match self.read(disk).await {
            Ok(Next::Batches { batches, bytes }) => {
                self.offset += bytes;
                self.credit -= i64::try_from(bytes).unwrap_or(i64::MAX);
                Next::Batches { batches, bytes }
            }
            Ok(next) => next,
            Err(ReadError::Refused(refusal)) => Next::Refused(refusal, format!("at offset {}", self.offset)),
            Err(ReadError::Io(error)) => {
                tracing::warn!(%error, "reading shuffle data failed");
                Next::Refused(Refusal::Unreadable, format!("at offset {}: {error}", self.offset))
            }
            Err(ReadError::Damaged(error)) => {
                tracing::warn!(%error, "stored shuffle data is damaged");
                Next::Refused(Refusal::Corrupt, format!("at offset {}: {error}", self.offset))
            }
        }
    }

    async fn read(&mut self, disk: &dyn Disk) -> Result<Next, ReadError> {
        let location = self.location.as_ref().map_err(|refusal| ReadError::Refused(*refusal))?;
        let bytes_max = CHUNK_BYTES.min(u64::try_from(self.credit).unwrap_or(1));
        match location.chunk(self.offset, bytes_max).map_err(ReadError::Refused)? {
            Chunk::Memory { pieces, bytes } => Ok(Next::Batches { batches: pieces, bytes }),
            Chunk::End => Ok(Next::End),
            Chunk::Disk { file, available } => {
                let started = tokio::time::Instant::now();
                let batches = self.read_file(disk, file, available, bytes_max).await?;
                let bytes = batches.len() as u64;
                self.pace.fetch.record(bytes, started.elapsed());
                Ok(Next::Batches { batches: vec![batches], bytes })
            }
        }
    }

    async fn read_file(
        &mut self,
        disk: &dyn Disk,
        path: PathBuf,
        available: u64,
        bytes_max: u64,
    ) -> Result<Bytes, ReadError> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::clone(self.file.insert(disk.open(&path).await?)),
        };
        let wanted = bytes_max.max(BATCH_HEADER_BYTES as u64).min(available);
        let bytes = file.read_at(self.offset, usize::try_from(wanted).map_err(io::Error::other)?).await?;
        let (whole, next) = whole_batches(&bytes)?;
        if whole > 0 {
            return Ok(bytes.slice(..whole));
        }
        let Some(first) = next.filter(|first| *first as u64 <= available) else {
            return Err(ReadError::Damaged(FrameError::Truncated { field: "stored batch" }));
        };
        Ok(file.read_at(self.offset, first).await?)
    }
}

/// How many bytes at the front of `bytes` are whole batches, and how long the one after them is if its header is there.
fn whole_batches(bytes: &[u8]) -> Result<(usize, Option<usize>), ReadError> {
    let mut whole = 0;
    while bytes.len() - whole >= BATCH_HEADER_BYTES {
        let record = BatchHeader::parse(&bytes[whole..])?.record_bytes();
        if bytes.len() - whole < record {
            return Ok((whole, Some(record)));
        }
        whole += record;
    }
    Ok((whole, None))
}

enum ReadError {
    Refused(Refusal),
    Io(io::Error),
    Damaged(FrameError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FrameError> for ReadError {
    fn from(error: FrameError) -> Self {
        Self::Damaged(error)
    }
}
