//! Frames from a stream, each byte copied as rarely as possible.
//!
//! What is small comes in through a buffer. What is large is read straight into the memory in which it stays, and little is
//! read beyond it, so that the next large thing is not found in the buffer either.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{
    Batch, BatchHeader, ENTRY_BYTES, Entry, FRAME_HEAD_BYTES, Frame, FrameError, FrameHead, PUSH_HEAD_BYTES,
    Push, PushHead, ReadFrameError, batch::BATCH_HEADER_BYTES, crc32c::crc32c_append,
};
use crate::ids::{Epoch, PartitionIndex};

/// From this size on a piece is read into memory of its own without a stay in the buffer.
const LARGE_BYTES: usize = 16 << 10;
const BUFFER_BYTES: usize = 64 << 10;
/// What is read beyond a large piece at most.
const BEHIND_LARGE_BYTES: usize = 4 << 10;
/// And in the same call as its last part: what stands between two records, be it the end of a frame.
const BEHIND_RECORD_BYTES: usize = FRAME_HEAD_BYTES + PUSH_HEAD_BYTES + ENTRY_BYTES + BATCH_HEADER_BYTES;
/// Of a large piece, what is read at once at most: it is still near the processor when it is looked at.
const READ_BYTES_MAX: usize = 256 << 10;

/// Reads frames, or the pieces of one. A reader whose future was dropped before its end is of no use any more, except
/// while it waited for a head.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// How much more than what is asked for is read into the buffer at most.
    ahead: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(stream: R) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { stream, buffer, start: 0, end: 0, ahead: BUFFER_BYTES }
    }

    /// The head of the next frame; none if the stream ended before its first byte.
    pub async fn head(&mut self, body_bytes_max: usize) -> Result<Option<FrameHead>, ReadFrameError> {
        if !self.has_any().await? {
            return Ok(None);
        }
        let head = self.fill(FRAME_HEAD_BYTES).await?;
        let head = FrameHead::parse(head.try_into().expect("as many as asked for"), body_bytes_max)?;
        self.start += FRAME_HEAD_BYTES;
        Ok(Some(head))
    }

    /// A whole frame; none if the stream ended between two frames.
    pub async fn frame(&mut self, body_bytes_max: usize) -> Result<Option<Frame>, ReadFrameError> {
        let Some(head) = self.head(body_bytes_max).await? else { return Ok(None) };
        Ok(Some(Frame { kind: head.kind, body: self.take(head.body_bytes, |_| ()).await? }))
    }

    /// Begins the body of a push.
    pub async fn push(&mut self, body_bytes: usize) -> Result<PushBody<'_, R>, ReadFrameError> {
        let rest =
            body_bytes.checked_sub(PUSH_HEAD_BYTES).ok_or(FrameError::Truncated { field: "push head" })?;
        let head = Bytes::copy_from_slice(self.fill(PUSH_HEAD_BYTES).await?);
        let (head, entries) = PushHead::parse(head)?;
        self.start += PUSH_HEAD_BYTES;
        Ok(PushBody { reader: self, head, entries, rest })
    }

    /// The next bytes, in memory of their own. `came` sees them part by part, in their order.
    async fn take(&mut self, bytes: usize, mut came: impl FnMut(&[u8])) -> io::Result<Bytes> {
        if bytes < LARGE_BYTES {
            let here = self.fill(bytes).await?;
            came(here);
            let taken = Bytes::copy_from_slice(here);
            self.start += bytes;
            return Ok(taken);
        }
        // Little more than needed: it may be kept for long.
        let mut own = BytesMut::with_capacity(bytes + BEHIND_RECORD_BYTES);
        let here = (self.end - self.start).min(bytes);
        own.put_slice(&self.buffer[self.start..self.start + here]);
        self.start += here;
        self.ahead = BEHIND_LARGE_BYTES;
        came(&own);
        while own.len() < bytes {
            let before = own.len();
            let limit = (bytes + BEHIND_RECORD_BYTES - before).min(READ_BYTES_MAX);
            if self.stream.read_buf(&mut (&mut own).limit(limit)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            came(&own[before..own.len().min(bytes)]);
        }
        self.put_back(&own[bytes..]);
        own.truncate(bytes);
        Ok(own.freeze())
    }

    /// What came behind the end of something is what comes next. Nothing did while there was more in the buffer.
    fn put_back(&mut self, behind: &[u8]) {
        if !behind.is_empty() {
            self.buffer[..behind.len()].copy_from_slice(behind);
            (self.start, self.end) = (0, behind.len());
        }
    }

    async fn skip(&mut self, mut bytes: usize) -> io::Result<()> {
        loop {
            let here = (self.end - self.start).min(bytes);
            self.start += here;
            bytes -= here;
            if bytes == 0 {
                return Ok(());
            }
            if self.read_more(bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next `bytes` bytes, at most [`LARGE_BYTES`], which stay in front.
    async fn fill(&mut self, bytes: usize) -> io::Result<&[u8]> {
        while self.end - self.start < bytes {
            if self.read_more(bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(&self.buffer[self.start..self.start + bytes])
    }

    /// Whether the stream goes on.
    async fn has_any(&mut self) -> io::Result<bool> {
        Ok(self.end > self.start || self.read_more(1).await? > 0)
    }

    async fn read_more(&mut self, wanted: usize) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let limit = self.buffer.len().min(wanted + self.ahead);
        // Whoever sends small things is expected to go on with small things.
        self.ahead = BUFFER_BYTES;
        let read = self.stream.read(&mut self.buffer[self.end..limit]).await?;
        self.end += read;
        Ok(read)
    }
}

/// A push as it comes in, batch by batch.
#[derive(Debug)]
pub struct PushBody<'a, R> {
    reader: &'a mut FrameReader<R>,
    head: PushHead,
    /// How many have not come yet.
    entries: u32,
    /// Bytes of them.
    rest: usize,
}

impl<R: AsyncRead + Unpin> PushBody<'_, R> {
    /// Reads all of it. Each batch lies in memory of its own: none keeps the others' alive.
    pub async fn read(mut self) -> Result<Push, ReadFrameError> {
        let count_max = self.rest / (ENTRY_BYTES + BATCH_HEADER_BYTES);
        let mut entries = Vec::with_capacity(count_max.min(self.entries as usize));
        while let Some((partition, epoch, header)) = self.next().await? {
            let batch = self.record(header).await?;
            entries.push(Entry { partition, epoch, batch });
        }
        Ok(Push { head: self.head, entries })
    }

    /// Reads all of it and keeps nothing; `skipped` hears of each batch. Returns the head and how many there were.
    pub async fn skip(
        mut self,
        mut skipped: impl FnMut(&PushHead, PartitionIndex, Epoch),
    ) -> Result<(PushHead, u32), ReadFrameError> {
        let (head, entries) = (self.head, self.entries);
        while let Some((partition, epoch, header)) = self.next().await? {
            self.reader.skip(header.record_bytes()).await?;
            skipped(&head, partition, epoch);
        }
        Ok((head, entries))
    }

    /// The batch whose header comes next. Its payload's checksum is computed while its bytes are near the processor: when the
    /// whole frame has come, they are not any more.
    async fn record(&mut self, header: BatchHeader) -> io::Result<Batch> {
        let (mut of_header, mut crc32c) = (BATCH_HEADER_BYTES, 0);
        let came = |bytes: &[u8]| {
            let skipped = of_header.min(bytes.len());
            of_header -= skipped;
            crc32c = crc32c_append(crc32c, &bytes[skipped..]);
        };
        let record = self.reader.take(header.record_bytes(), came).await?;
        Ok(Batch::arrived(header, record, crc32c))
    }

    /// Where the next batch goes and what it is; its record is what the reader reads next. None behind the last.
    async fn next(&mut self) -> Result<Option<(PartitionIndex, Epoch, BatchHeader)>, ReadFrameError> {
        if self.entries == 0 {
            return match self.rest {
                0 => Ok(None),
                trailing => Err(FrameError::Trailing { trailing }.into()),
            };
        }
        let rest = self.rest.checked_sub(ENTRY_BYTES + BATCH_HEADER_BYTES);
        let rest = rest.ok_or(FrameError::Truncated { field: "batch header" })?;
        let bytes = self.reader.fill(ENTRY_BYTES + BATCH_HEADER_BYTES).await?;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let (partition, epoch) = (PartitionIndex(word(0)), Epoch(word(4)));
        let header = BatchHeader::parse(&bytes[ENTRY_BYTES..])?;
        let rest = rest.checked_sub(header.length as usize);
        self.rest = rest.ok_or(FrameError::Truncated { field: "payload" })?;
        self.entries -= 1;
        self.reader.start += ENTRY_BYTES;
        Ok(Some((partition, epoch, header)))
    }
}
