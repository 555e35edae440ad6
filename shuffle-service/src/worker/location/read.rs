//! What readers of a committed location get.

use std::ops::Range;

use bytes::Bytes;
use penstock_protocol::{frame::Refusal, ids::TaskIndex};

use super::{Location, Place, State, gate::Phase};

/// The next bytes for a reader.
#[derive(Debug)]
pub(in crate::worker) enum Chunk {
    /// Whole batches.
    Memory {
        pieces: Vec<Bytes>,
        bytes: u64,
    },
    /// `available` bytes of whole batches from `offset` of a place on.
    Stored {
        place: Place,
        offset: u64,
        available: u64,
    },
    End,
}

impl Location {
    /// The first run of bytes at or behind `from` that may hold batches of `maps`.
    pub fn find(&self, maps: &Range<TaskIndex>, from: u64) -> Result<Option<Range<u64>>, Refusal> {
        let state = self.state();
        state.check_readable()?;
        Ok(state.maps.find(maps, from, state.end))
    }

    /// What a reader at `offset` gets next; `offset` is 0 or the end of a batch.
    pub fn chunk(&self, offset: u64, bytes_max: u64) -> Result<Chunk, Refusal> {
        let state = self.state();
        state.check_readable()?;
        if offset == state.end {
            return Ok(Chunk::End);
        }
        if offset < state.stored {
            let part = state.parts.partition_point(|part| part.start + part.bytes <= offset);
            let part = state.parts.get(part).ok_or(Refusal::Unreadable)?;
            let (inside, available) = (offset - part.start, part.start + part.bytes - offset);
            return Ok(Chunk::Stored { place: part.place.clone(), offset: inside, available });
        }
        let first = state.records.binary_search_by_key(&offset, |record| record.start);
        let first = first.map_err(|_| Refusal::BadFrame)?;
        let mut pieces = Vec::new();
        let mut bytes = 0;
        for record in state.records.range(first..) {
            if bytes > 0 && bytes + record.bytes.len() as u64 > bytes_max {
                break;
            }
            bytes += record.bytes.len() as u64;
            pieces.push(record.bytes.clone());
        }
        Ok(Chunk::Memory { pieces, bytes })
    }
}

impl State {
    fn check_readable(&self) -> Result<(), Refusal> {
        match self.gate.phase() {
            Phase::Committed => Ok(()),
            Phase::Open | Phase::Closing => Err(Refusal::Open),
            Phase::Broken { .. } => Err(Refusal::Broken),
            Phase::Released => Err(Refusal::Expired),
        }
    }
}
