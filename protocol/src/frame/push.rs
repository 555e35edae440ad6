//! Pushed batches and their acknowledgements.
//!
//! One frame carries batches of any partitions of one shuffle: a head, then for each batch its partition and epoch
//! (8 bytes) followed by the batch as it will be stored.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Batch, BatchHeader, FRAME_HEAD_BYTES, FrameError, FrameHead, Kind, PushVerdict,
    fields::{Fields, SHUFFLE_BYTES, frame, put_shuffle, put_token},
};
use crate::{
    ids::{Epoch, Incarnation, PartitionIndex, ShuffleId},
    token::{JobToken, TOKEN_BYTES},
};

/// Payloads up to this size are copied into the frame: an entry of a vectored write costs more than the copy.
const COPY_BYTES_MAX: usize = 2 << 10;
/// Partition and epoch in front of each batch.
pub const ENTRY_BYTES: usize = 8;
/// Request, incarnation, shuffle, token and number of batches.
pub const PUSH_HEAD_BYTES: usize = 8 + 8 + SHUFFLE_BYTES + TOKEN_BYTES + 4;

/// What a push is about; the same for all its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushHead {
    /// Chosen by the client, unique on its connection; the acknowledgement names it.
    pub request: u64,
    pub incarnation: Incarnation,
    pub shuffle: ShuffleId,
    pub token: JobToken,
}

/// A push frame as it came in. Its batches are complete; their payloads are not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    pub head: PushHead,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub partition: PartitionIndex,
    pub epoch: Epoch,
    pub batch: Batch,
}

impl Push {
    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        let (head, count) = PushHead::take(&mut fields)?;
        let count_max = fields.0.len() / (ENTRY_BYTES + super::BATCH_HEADER_BYTES);
        let mut entries = Vec::with_capacity(count_max.min(count as usize));
        for _ in 0..count {
            entries.push(Entry {
                partition: PartitionIndex(fields.u32("partition")?),
                epoch: Epoch(fields.u32("epoch")?),
                batch: Batch::split_from(&mut fields.0)?,
            });
        }
        fields.end()?;
        Ok(Self { head, entries })
    }
}

impl PushHead {
    /// Reads the first [`PUSH_HEAD_BYTES`] of a body: the head and the number of batches.
    pub(super) fn parse(bytes: Bytes) -> Result<(Self, u32), FrameError> {
        Self::take(&mut Fields(bytes))
    }

    fn take(fields: &mut Fields) -> Result<(Self, u32), FrameError> {
        let head = Self {
            request: fields.u64("request")?,
            incarnation: Incarnation(fields.u64("incarnation")?),
            shuffle: fields.shuffle()?,
            token: fields.token()?,
        };
        Ok((head, fields.u32("number of batches")?))
    }

    fn encode(&self, count: u32, body_bytes: usize) -> Bytes {
        let mut start = BytesMut::with_capacity(FRAME_HEAD_BYTES + PUSH_HEAD_BYTES);
        start.put_slice(&FrameHead { kind: Kind::Push, body_bytes }.encode());
        start.put_u64_le(self.request);
        start.put_u64_le(self.incarnation.0);
        put_shuffle(&mut start, self.shuffle);
        put_token(&mut start, self.token);
        start.put_u32_le(count);
        start.freeze()
    }
}

/// Collects batches for one push frame. Large payloads stay where they are and are written as slices.
#[derive(Debug)]
pub struct PushRecorder {
    /// Finished pieces; the first one is kept free for the heads.
    done: Vec<Bytes>,
    tail: BytesMut,
    body_bytes: usize,
    count: u32,
}

impl Default for PushRecorder {
    fn default() -> Self {
        Self { done: vec![Bytes::new()], tail: BytesMut::new(), body_bytes: PUSH_HEAD_BYTES, count: 0 }
    }
}

impl PushRecorder {
    /// Adds a batch; `payload` is what `header` was made of.
    pub fn add(&mut self, partition: PartitionIndex, epoch: Epoch, header: &BatchHeader, payload: Bytes) {
        self.begin(partition, epoch, header.record_bytes());
        self.tail.put_slice(&header.encode());
        self.end(payload);
    }

    /// Adds a batch that was built before, byte for byte (invariant 7).
    pub fn add_record(&mut self, partition: PartitionIndex, epoch: Epoch, record: Bytes) {
        self.begin(partition, epoch, record.len());
        self.end(record);
    }

    fn begin(&mut self, partition: PartitionIndex, epoch: Epoch, record_bytes: usize) {
        self.tail.put_u32_le(partition.0);
        self.tail.put_u32_le(epoch.0);
        self.body_bytes += ENTRY_BYTES + record_bytes;
        self.count += 1;
    }

    fn end(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_BYTES_MAX {
            self.tail.put_slice(&bytes);
        } else {
            self.done.push(self.tail.split().freeze());
            self.done.push(bytes);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Batches so far.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Body bytes so far.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// The frame, to be written piece after piece.
    pub fn finish(mut self, head: PushHead) -> Vec<Bytes> {
        self.done[0] = head.encode(self.count, self.body_bytes);
        if !self.tail.is_empty() {
            self.done.push(self.tail.freeze());
        }
        self.done
    }
}

/// The answer to one push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub request: u64,
    /// One for each batch of the push, in its order; none means that all were accepted, a single one holds for all.
    pub verdicts: Vec<PushVerdict>,
}

/// Answers to any number of pushes; with none it only says that the worker is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acks(pub Vec<Answer>);

impl Answer {
    /// What became of the batch at `position`.
    pub fn verdict(&self, position: usize) -> PushVerdict {
        let all = if self.verdicts.len() == 1 { self.verdicts.first() } else { None };
        self.verdicts.get(position).or(all).copied().unwrap_or(PushVerdict::Accepted)
    }
}

impl Acks {
    pub fn encode(&self) -> Bytes {
        frame(Kind::Acks, |body| {
            for answer in &self.0 {
                body.put_u64_le(answer.request);
                body.put_u32_le(u32::try_from(answer.verdicts.len()).expect("as many as batches in a frame"));
                body.extend(answer.verdicts.iter().map(|verdict| verdict.code()));
            }
        })
    }

    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        let mut answers = Vec::new();
        while !fields.0.is_empty() {
            let request = fields.u64("request")?;
            let count = fields.u32("number of verdicts")? as usize;
            let codes = fields.bytes(count, "verdicts")?;
            let verdicts = codes.iter().map(|code| PushVerdict::parse(*code)).collect::<Result<_, _>>()?;
            answers.push(Answer { request, verdicts });
        }
        Ok(Self(answers))
    }
}
