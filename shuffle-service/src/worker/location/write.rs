//! How what is in memory gets to its places, and from one place to another.
//!
//! One write or move at a time: each begins with a decision under the lock and ends with its outcome. Not here: files.

use bytes::Bytes;
use penstock_protocol::frame::Refusal;

use super::{Location, NewPart, Part, Place, State, gate::Phase};

/// A part of a location to be written.
#[derive(Debug)]
pub(in crate::worker) struct Write {
    pub place: Place,
    /// Within the place.
    pub offset: u64,
    /// Of the bytes in front of `offset`.
    pub crc32c_before: u32,
    pub pieces: Vec<Bytes>,
    pub bytes: u64,
}

/// What there is to write.
#[derive(Debug)]
pub(in crate::worker) enum Begin {
    Nothing,
    /// No place takes it.
    NoPlace,
    Write(Write),
}

/// A write that worked.
#[derive(Debug)]
pub(in crate::worker) struct Stored {
    pub place: Place,
    /// Of everything in the place.
    pub crc32c: u32,
    /// Whether everything in the place survives a loss of power.
    pub synced: bool,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) enum Written {
    /// Its memory is free.
    Freed,
    /// The data is committed and could not be written: it stays in memory.
    Kept,
}

impl Location {
    /// Hands out the first of what is in memory, about `bytes_max`, to be written to the place that `choose` names; all of it
    /// if that is an object. Must be answered with [`Self::end_write`].
    pub fn begin_write(&self, bytes_max: u64, choose: impl FnOnce(NewPart<'_>) -> Option<Place>) -> Begin {
        let mut state = self.state();
        if !state.gate.may_write() || state.moving || state.records.is_empty() {
            return Begin::Nothing;
        }
        let (mut records, mut bytes) = state.first_records(bytes_max);
        let last = state.parts.last();
        let new = NewPart { last: last.map(|part| &part.place), start: state.stored, bytes };
        let Some(place) = choose(new) else { return Begin::NoPlace };
        let continued = last.filter(|last| last.place == place);
        let (offset, crc32c_before) = continued.map_or((0, 0), |last| (last.bytes, last.crc32c));
        // An object is written once.
        if matches!(place, Place::Object { .. }) {
            (records, bytes) = state.first_records(u64::MAX);
        }
        let pieces = state.records.iter().take(records).map(|record| record.bytes.clone()).collect();
        state.gate.begin_write();
        state.writing = records;
        Begin::Write(Write { place, offset, crc32c_before, pieces, bytes })
    }

    /// Takes the outcome of a write. An error breaks the location, unless its
    /// data is committed: that was promised, so it stays in memory.
    pub fn end_write(&self, outcome: Result<Stored, (Refusal, String)>) -> Written {
        let mut state = self.state();
        let writing = std::mem::take(&mut state.writing);
        let (stored, failure) = match outcome {
            Ok(stored) => (Some(stored), None),
            Err(failure) => (None, Some(failure)),
        };
        let written = match (state.gate.end_write(failure), stored) {
            (true, Some(stored)) => {
                let bytes: u64 = state.records.drain(..writing).map(|record| record.bytes.len() as u64).sum();
                state.add_part(stored, bytes);
                drop(state.charge.split(bytes));
                Written::Freed
            }
            (true, None) => Written::Kept,
            (false, _) => {
                state.forget_data();
                Written::Freed
            }
        };
        drop(state);
        self.ended.notify_waiters();
        written
    }

    /// Takes note that a part survives a loss of power, unless it has grown or moved since.
    pub fn synced(&self, synced: &Part) {
        if let Some(part) = self.state().parts.iter_mut().find(|part| *part == synced) {
            part.synced = true;
        }
    }

    /// Holds a part of a committed location where it is until [`Self::end_move`]; whether it is still there.
    pub fn begin_move(&self, part: &Part) -> bool {
        let mut state = self.state();
        let may_move = *state.gate.phase() == Phase::Committed
            && !state.moving
            && state.records.is_empty()
            && state.parts.contains(part);
        state.moving |= may_move;
        may_move
    }

    /// Serves a part from another place from now on, or from where it was if there is none. Whether it does: a location that
    /// was released meanwhile has no use for the other place.
    pub fn end_move(&self, part: &Part, to: Option<Place>) -> bool {
        let mut state = self.state();
        state.moving = false;
        let mut moved = false;
        if *state.gate.phase() == Phase::Committed
            && let Some(place) = to
            && let Some(part) = state.parts.iter_mut().find(|candidate| *candidate == part)
        {
            (part.place, part.synced, moved) = (place, true, true);
        }
        drop(state);
        self.ended.notify_waiters();
        moved
    }

    /// Returns when no write is in progress.
    pub async fn unwritten(&self) {
        self.until(|state| (state.writing == 0).then_some(())).await;
    }
}

impl State {
    /// How many of the first records have `bytes_max` together, or all of them, and how many bytes they have.
    fn first_records(&self, bytes_max: u64) -> (usize, u64) {
        let first = self.records.front().map_or(self.end, |record| record.start);
        let records = self.records.partition_point(|record| record.start - first < bytes_max);
        let end = self.records.get(records).map_or(self.end, |record| record.start);
        (records, end - first)
    }

    /// Adds what was written behind everything that was written before.
    fn add_part(&mut self, Stored { place, crc32c, synced }: Stored, bytes: u64) {
        match self.parts.last_mut().filter(|last| last.place == place) {
            Some(last) => {
                *last = Part { bytes: last.bytes + bytes, crc32c, synced, start: last.start, place };
            }
            None => self.parts.push(Part { start: self.stored, bytes, crc32c, synced, place }),
        }
        self.stored += bytes;
    }
}
