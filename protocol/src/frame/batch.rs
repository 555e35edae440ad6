//! A batch as it lies on the wire and on disk: a header of 28 bytes and the payload.
//!
//! The same bytes are pushed, stored and served, so a worker never builds a batch, it only checks one.

use bytes::Bytes;

use super::{FrameError, crc32c::crc32c};
use crate::{
    ids::{AttemptNumber, BatchId, TaskIndex},
    shuffle::{PartitionTotals, batch_checksum},
};

pub const BATCH_HEADER_BYTES: usize = 28;

/// Who wrote a batch, and what it must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub map: TaskIndex,
    pub attempt: AttemptNumber,
    pub batch: BatchId,
    pub rows: u32,
    /// Payload bytes.
    pub length: u32,
    /// CRC32C of the payload.
    pub crc32c: u32,
}

impl BatchHeader {
    /// The header of a payload; computes its checksum.
    pub fn of(map: TaskIndex, attempt: AttemptNumber, batch: BatchId, rows: u32, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).expect("payloads are bounded by FRAME_BYTES_MAX");
        Self { map, attempt, batch, rows, length, crc32c: crc32c(payload) }
    }

    pub fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        let words = [self.map.0, self.attempt.0, self.batch.0, self.rows, self.length, self.crc32c];
        for (slot, word) in bytes.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        let checksum = crc32c(&bytes[..24]);
        bytes[24..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header at the front of `bytes` and checks the header's own checksum.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES).ok_or(FrameError::Truncated { field: "batch header" })?;
        let word = |index: usize| {
            u32::from_le_bytes(bytes[4 * index..4 * index + 4].try_into().expect("four bytes"))
        };
        if crc32c(&bytes[..24]) != word(6) {
            return Err(FrameError::BatchHeader);
        }
        Ok(Self {
            map: TaskIndex(word(0)),
            attempt: AttemptNumber(word(1)),
            batch: BatchId(word(2)),
            rows: word(3),
            length: word(4),
            crc32c: word(5),
        })
    }

    /// The map of a record whose header was checked before; none if it is too short for one.
    pub fn map_of(record: &[u8]) -> Option<TaskIndex> {
        record.first_chunk().map(|map| TaskIndex(u32::from_le_bytes(*map)))
    }

    /// Bytes of header and payload.
    pub fn record_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + self.length as usize
    }

    /// What this batch adds to the totals of its partition.
    pub fn totals(&self) -> PartitionTotals {
        PartitionTotals {
            rows: self.rows.into(),
            bytes: self.length.into(),
            batches: 1,
            checksum: batch_checksum(self.map, self.batch, self.crc32c),
        }
    }
}

/// A header with the bytes it speaks of.
#[derive(Debug, Clone)]
pub struct Batch {
    pub header: BatchHeader,
    /// Header and payload as they lie on the wire and on disk.
    pub record: Bytes,
    /// CRC32C of the payload, if it was computed when the bytes came.
    arrived_crc32c: Option<u32>,
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.header == other.header && self.record == other.record
    }
}

impl Eq for Batch {}

impl Batch {
    /// Takes one batch off the front of `bytes` without looking at the payload.
    pub fn split_from(bytes: &mut Bytes) -> Result<Self, FrameError> {
        let header = BatchHeader::parse(bytes)?;
        if bytes.len() < header.record_bytes() {
            return Err(FrameError::Truncated { field: "payload" });
        }
        Ok(Self { header, record: bytes.split_to(header.record_bytes()), arrived_crc32c: None })
    }

    /// One whose payload had this CRC32C when it came.
    pub(super) fn arrived(header: BatchHeader, record: Bytes, crc32c: u32) -> Self {
        Self { header, record, arrived_crc32c: Some(crc32c) }
    }

    /// Compares the payload, as it came, with its checksum.
    pub fn verify(&self) -> Result<(), FrameError> {
        let found = self.arrived_crc32c.unwrap_or_else(|| crc32c(&self.record[BATCH_HEADER_BYTES..]));
        if found != self.header.crc32c {
            return Err(FrameError::Payload { map: self.header.map.0, batch: self.header.batch.0 });
        }
        Ok(())
    }

    pub fn payload(&self) -> Bytes {
        self.record.slice(BATCH_HEADER_BYTES..)
    }
}

/// The whole batches that `bytes` is made of. Stops after the first error.
#[derive(Debug, Clone)]
pub struct Batches(Bytes);

impl Batches {
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let batch = Batch::split_from(&mut self.0);
        if batch.is_err() {
            self.0 = Bytes::new();
        }
        Some(batch)
    }
}

/// How many bytes at the front of `bytes` are whole batches, and how long the one after them is if its header is there.
pub fn whole_batches(bytes: &[u8]) -> Result<(usize, Option<usize>), FrameError> {
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
