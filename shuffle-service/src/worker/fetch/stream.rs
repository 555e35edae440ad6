//! One reader's way through one location: first what is on disk, then what is in memory, whole batches only.

use std::{io, ops::Range, sync::Arc};

use bytes::Bytes;
use penstock_protocol::{
    frame::{BATCH_HEADER_BYTES, Batches, FrameError, Loan, Open, Refusal, whole_batches},
    ids::{ShuffleId, TaskIndex},
};

use crate::{
    disk::StoredFile,
    worker::{
        location::{Location, Place, Reads, Run, Upcoming},
        read_back::may_pass,
        store::Store,
    },
};

/// Less than this is sent rather than lent.
const LOAN_BYTES_MIN: u64 = 256 << 10;

pub(super) struct OutgoingStream {
    pub number: u32,
    shuffle: ShuffleId,
    location: Result<Arc<Location>, Refusal>,
    /// Within the location.
    offset: u64,
    /// Only batches of these maps are wanted.
    maps: Option<Range<TaskIndex>>,
    /// Bytes of wanted batches that the reader has from before.
    skip: u64,
    /// May be overdrawn by one batch.
    credit: i64,
    /// What was read last, held open.
    open: Option<(Place, Arc<dyn StoredFile>)>,
    lends: bool,
    /// Whether the open file is held for a reader that has not opened it yet.
    lent: bool,
}

/// What a stream sends next.
pub(super) enum Next {
    Batches { batches: Vec<Bytes>, bytes: u64 },
    Loan(Loan),
    End,
    Refused(Refusal, String),
}

/// What comes next in a location.
enum Found {
    Batches(Vec<Bytes>),
    /// Batches that the reader may read itself.
    File(Loan),
    End,
}

impl OutgoingStream {
    pub fn new(open: Open, store: &Store) -> Self {
        let location = admit(&open, store);
        // The offset counts what was sent: the place of that is only known if everything is sent.
        let (offset, skip) = if open.maps.is_some() { (0, open.offset) } else { (open.offset, 0) };
        Self {
            number: open.stream,
            shuffle: open.shuffle,
            location,
            offset,
            // Of a file that is lent nothing is left out.
            lends: open.borrows && open.maps.is_none(),
            maps: open.maps,
            skip,
            credit: open.credit.into(),
            open: None,
            lent: false,
        }
    }

    pub fn add_credit(&mut self, bytes: i64) {
        self.credit = self.credit.saturating_add(bytes);
    }

    pub fn may_send(&self) -> bool {
        self.credit > 0 && !self.lent
    }

    pub fn loan_taken(&mut self) {
        self.lent = false;
        self.open = None;
    }

    /// Reads about so many bytes at most.
    pub async fn next(&mut self, store: &Store, bytes_max: u64) -> Next {
        let found = match self.maps.clone() {
            None => self.find(store, bytes_max).await,
            Some(maps) => self.find_maps(store, &maps, bytes_max).await,
        };
        match found {
            Ok(Found::Batches(batches)) => {
                let bytes = batches.iter().map(|piece| piece.len() as u64).sum();
                self.credit -= i64::try_from(bytes).unwrap_or(i64::MAX);
                Next::Batches { batches, bytes }
            }
            Ok(Found::File(loan)) => {
                self.lent = true;
                Next::Loan(loan)
            }
            Ok(Found::End) => Next::End,
            Err(ReadError::Refused(refusal)) => {
                store.complaints.tell(self.shuffle, refusal);
                Next::Refused(refusal, format!("at offset {}", self.offset))
            }
            Err(ReadError::StoreAway(error)) => {
                tracing::info!(%error, "what lies in the object store cannot be read now");
                Next::Refused(Refusal::StoreAway, format!("at offset {}: {error}", self.offset))
            }
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

    /// The next batches of some maps: reads what may hold any, and leaves out the others.
    async fn find_maps(
        &mut self,
        store: &Store,
        maps: &Range<TaskIndex>,
        bytes_max: u64,
    ) -> Result<Found, ReadError> {
        loop {
            let location = self.location.as_ref().map_err(|refusal| ReadError::Refused(*refusal))?;
            let Some(run) = location.find(maps, self.offset).map_err(ReadError::Refused)? else {
                return Ok(Found::End);
            };
            self.offset = run.start;
            let pieces = match self.find(store, bytes_max.min(run.end - run.start)).await? {
                Found::Batches(pieces) => pieces,
                other => return Ok(other),
            };
            let mut wanted = Vec::new();
            for batch in pieces.into_iter().flat_map(Batches::new) {
                let batch = batch?;
                let bytes = batch.record.len() as u64;
                match maps.contains(&batch.header.map) {
                    true if self.skip >= bytes => self.skip -= bytes,
                    true => wanted.push(batch.record),
                    false => {}
                }
            }
            if !wanted.is_empty() {
                return Ok(Found::Batches(wanted));
            }
        }
    }

    /// The next batches, whatever they are, or the file in which they lie; steps behind them.
    async fn find(&mut self, store: &Store, bytes_max: u64) -> Result<Found, ReadError> {
        let location = self.location.as_ref().map_err(|refusal| ReadError::Refused(*refusal))?;
        let location = Arc::clone(location);
        store.prove(&location).await.map_err(ReadError::Refused)?;
        let bytes_max = bytes_max.min(u64::try_from(self.credit).unwrap_or(1));
        let offset = self.offset;
        let mut reads = FromFiles { stream: self, store, bytes_max };
        match location.next(offset, bytes_max, &mut reads).await? {
            Upcoming::End => Ok(Found::End),
            Upcoming::Memory { pieces, bytes } => {
                self.offset += bytes;
                Ok(Found::Batches(pieces))
            }
            Upcoming::Stored(found) => Ok(found),
        }
    }

    async fn find_stored(&mut self, store: &Store, run: &Run, bytes_max: u64) -> Result<Found, ReadError> {
        let started = tokio::time::Instant::now();
        let file = self.opened(store, run).await?;
        if let Some(loan) = self.loan_of(file.as_ref(), run) {
            self.offset += loan.bytes;
            return Ok(Found::File(loan));
        }
        let batches = read_stored(store, &file, run, bytes_max).await?;
        store.pace.fetch.record(batches.len() as u64, started.elapsed());
        self.offset += batches.len() as u64;
        Ok(Found::Batches(vec![batches]))
    }

    async fn opened(&mut self, store: &Store, run: &Run) -> io::Result<Arc<dyn StoredFile>> {
        if let Some((place, file)) = &self.open
            && *place == run.place
        {
            return Ok(Arc::clone(file));
        }
        let file = store.open(&run.place, run.offset + run.available).await?;
        self.open = Some((run.place.clone(), Arc::clone(&file)));
        Ok(file)
    }

    /// Lends the rest of a file, if this process holds it open as a number and it is worth that.
    fn loan_of(&self, file: &dyn StoredFile, run: &Run) -> Option<Loan> {
        if !self.lends || run.available < LOAN_BYTES_MIN {
            return None;
        }
        let file = file.open_file()?;
        Some(Loan {
            stream: self.number,
            file: file.number,
            device: file.device,
            inode: file.inode,
            offset: run.offset,
            bytes: run.available,
        })
    }
}

/// How a stream reads from a place.
struct FromFiles<'a> {
    stream: &'a mut OutgoingStream,
    store: &'a Store,
    bytes_max: u64,
}

impl Reads for FromFiles<'_> {
    type Found = Found;
    type Failure = ReadError;

    async fn read(&mut self, run: &Run) -> Result<Found, ReadError> {
        let found = self.stream.find_stored(self.store, run, self.bytes_max).await;
        found.map_err(|failure| match failure {
            ReadError::Io(error) if may_pass(&run.place, &error) => ReadError::StoreAway(error),
            failure => failure,
        })
    }

    fn is_gone(failure: &ReadError) -> bool {
        matches!(failure, ReadError::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Whole batches from a file, about as many as are wanted.
async fn read_stored(
    store: &Store,
    file: &Arc<dyn StoredFile>,
    run: &Run,
    bytes_max: u64,
) -> Result<Bytes, ReadError> {
    let wanted = bytes_max.max(BATCH_HEADER_BYTES as u64).min(run.available);
    let wanted = usize::try_from(wanted).map_err(io::Error::other)?;
    let bytes = store.read_at(&run.place, file, run.offset, wanted).await?;
    let (whole, next) = whole_batches(&bytes)?;
    if whole > 0 {
        return Ok(bytes.slice(..whole));
    }
    let Some(first) = next.filter(|first| *first as u64 <= run.available) else {
        return Err(ReadError::Damaged(FrameError::Truncated { field: "stored batch" }));
    };
    Ok(store.read_at(&run.place, file, run.offset, first).await?)
}

/// What a stream reads, if its client may.
fn admit(open: &Open, store: &Store) -> Result<Arc<Location>, Refusal> {
    store.guard.check(open.shuffle.job, open.token)?;
    // Maps of which the last stands before the first are a mistake, and would read as nothing.
    if open.maps.as_ref().is_some_and(|maps| maps.start > maps.end) {
        return Err(Refusal::BadFrame);
    }
    store.location(open.incarnation, open.shuffle, (open.partition, open.epoch))
}

enum ReadError {
    Refused(Refusal),
    /// What the object store says now is not what it says always.
    StoreAway(io::Error),
    Io(io::Error),
    Damaged(FrameError),
}

impl From<Refusal> for ReadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
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

#[cfg(test)]
mod tests;
