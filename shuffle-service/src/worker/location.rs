//! One partition epoch on this worker: takes batches while it is open, keeps them in memory and on disk, and gives one
//! final verdict.
//!
//! Every decision is taken by a [`Gate`] under one lock: which batches are taken, when it splits, what its end waits for.
//!
//! What has left memory lies in parts, each in one file or object. A part may move to another place while it is read: who
//! asks next is told the new place, and whoever has the old one open reads it to its end (invariant 28).
//!
//! Not here: which locations are flushed and when, where to, files, sockets.

mod gate;
mod map_index;
mod part;

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use penstock_protocol::{
    frame::{BatchHeader, Refusal},
    ids::{Incarnation, TaskIndex},
    shuffle::CommitVerdict,
};
use tokio::sync::{Notify, OnceCell};

pub(super) use self::part::{NewPart, Part, Place};
use self::{
    gate::{Close, Gate, Phase},
    map_index::MapIndex,
};
use super::{
    link::Link,
    memory::{Budget, Charge},
};

#[derive(Debug)]
pub(super) struct Location {
    /// The life of this worker that took its batches: readers name it.
    pub life: Incarnation,
    /// Whether what a former life left is what it wrote; settled before it is served.
    pub proof: OnceCell<Result<(), Refusal>>,
    state: Mutex<State>,
    /// A write or a move ended, or a pending batch was answered.
    ended: Notify,
    split_from_bytes: u64,
    /// The way to its second copy.
    replica: Option<Arc<Link>>,
}

/// A location whose clients do not follow the wish to split stops at so many times the size.
const FULL_FACTOR: u64 = 4;

#[derive(Debug)]
struct State {
    gate: Gate,
    /// What has left memory, in order and without gaps.
    parts: Vec<Part>,
    /// Bytes of all parts: always whole batches.
    stored: u64,
    /// What is in memory only, in order.
    records: VecDeque<Record>,
    /// How many of the first records are being written now.
    writing: usize,
    /// Whether a part is on its way to another place.
    moving: bool,
    /// Memory of `records`.
    charge: Charge,
    /// All bytes ever accepted.
    end: u64,
    maps: MapIndex,
}

#[derive(Debug)]
struct Record {
    start: u64,
    bytes: Bytes,
}

/// A batch that was stored here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Stored,
    /// The location has grown as far as it should.
    SplitSoon,
}

/// A batch that is stored here and whose second copy is on its way: its location does not close before this is dropped.
#[derive(Debug)]
pub(super) struct Pending(Arc<Location>);

impl Pending {
    /// To be called once for each batch that a location with a second copy took.
    pub fn of(location: Arc<Location>) -> Self {
        Self(location)
    }

    /// The second copy was not stored: both end here.
    pub fn refused(&self, refusal: Refusal) {
        self.0.split(refusal);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.state().gate.answered();
        self.0.ended.notify_waiters();
    }
}

/// A part of a location to be written.
#[derive(Debug)]
pub(super) struct Write {
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
pub(super) enum Begin {
    Nothing,
    /// No place takes it.
    NoPlace,
    Write(Write),
}

/// A write that worked.
#[derive(Debug)]
pub(super) struct Stored {
    pub place: Place,
    /// Of everything in the place.
    pub crc32c: u32,
    /// Whether everything in the place survives a loss of power.
    pub synced: bool,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Its memory is free.
    Freed,
    /// The data is committed and could not be written: it stays in memory.
    Kept,
}

/// The next bytes for a reader.
#[derive(Debug)]
pub(super) enum Chunk {
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

/// A location in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    pub phase: &'static str,
    /// Accepted bytes that it holds.
    pub bytes: u64,
    pub disk_bytes: u64,
}

impl Summary {
    pub fn is_open(&self) -> bool {
        self.phase == "open"
    }
}

impl Location {
    pub fn new(budget: &Arc<Budget>, life: Incarnation) -> Self {
        Self::with(Gate::new(), budget, life, Vec::new(), OnceCell::new_with(Some(Ok(()))))
    }

    /// Asks for a split from this size.
    pub fn splitting_from(self, split_from_bytes: u64) -> Self {
        Self { split_from_bytes, ..self }
    }

    /// Sends a second copy of everything there.
    pub fn replicated_to(self, replica: Option<Arc<Link>>) -> Self {
        Self { replica, ..self }
    }

    /// One that an earlier life committed; `parts` are all of it. What was not synced has to be proved.
    pub fn recovered(budget: &Arc<Budget>, life: Incarnation, parts: Vec<Part>) -> Self {
        let proved = parts.iter().all(|part| part.synced).then_some(Ok(()));
        Self::with(Gate::committed(), budget, life, parts, OnceCell::new_with(proved))
    }

    fn with(
        gate: Gate,
        budget: &Arc<Budget>,
        life: Incarnation,
        parts: Vec<Part>,
        proof: OnceCell<Result<(), Refusal>>,
    ) -> Self {
        let stored = parts.iter().map(|part| part.bytes).sum();
        let state = State {
            gate,
            parts,
            stored,
            records: VecDeque::new(),
            writing: 0,
            moving: false,
            charge: Charge::none(budget),
            end: stored,
            // Nothing is known of what a former life took.
            maps: MapIndex::default(),
        };
        let (ended, split_from_bytes) = (Notify::new(), u64::MAX);
        Self { life, proof, state: Mutex::new(state), ended, split_from_bytes, replica: None }
    }

    /// Takes a batch, or says why not. `charge` is the memory of its bytes. With a second copy the batch is pending: the
    /// caller makes a [`Pending`] of it.
    pub fn append(&self, record: Bytes, charge: Charge) -> Result<Taken, Refusal> {
        let mut state = self.state();
        if state.end >= self.split_from_bytes.saturating_mul(FULL_FACTOR) {
            state.gate.split(Refusal::Full);
        }
        if self.replica.as_ref().is_some_and(|link| link.is_broken()) {
            state.gate.split(Refusal::ReplicaLost);
        }
        state.gate.admit(self.replica.is_some())?;
        let start = state.end;
        state.end += record.len() as u64;
        if let Some(map) = BatchHeader::map_of(&record) {
            state.maps.add(start, map);
        }
        state.records.push_back(Record { start, bytes: record });
        state.charge.merge(charge);
        Ok(if state.end >= self.split_from_bytes { Taken::SplitSoon } else { Taken::Stored })
    }

    /// Refuses everything from now on: what a client was refused once goes to another epoch, and so does what follows.
    pub fn split(&self, refusal: Refusal) {
        self.state().gate.split(refusal);
    }

    /// Where it sends what it takes.
    pub fn replica(&self) -> Option<&Arc<Link>> {
        self.replica.as_ref()
    }

    pub fn forwards_to(&self, replica: Option<&Arc<Link>>) -> bool {
        match (&self.replica, replica) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            _ => false,
        }
    }

    pub fn is_open(&self) -> bool {
        *self.state().gate.phase() == Phase::Open
    }

    pub fn is_untouched(&self) -> bool {
        let state = self.state();
        *state.gate.phase() == Phase::Open && state.end == 0
    }

    /// Bytes that a flush would free.
    pub fn flushable_bytes(&self) -> u64 {
        let state = self.state();
        let may_flush =
            state.gate.may_write() && matches!(state.gate.phase(), Phase::Open | Phase::Committed);
        if may_flush { state.end - state.stored } else { 0 }
    }

    /// What an operator and the masters see of it.
    pub fn summary(&self) -> Summary {
        let state = self.state();
        let phase = match state.gate.phase() {
            Phase::Open => "open",
            Phase::Closing => "closing",
            Phase::Committed => "committed",
            Phase::Broken { .. } => "broken",
            Phase::Released => "released",
        };
        let bytes = if state.records.is_empty() { state.stored } else { state.end };
        Summary { phase, bytes, disk_bytes: state.stored }
    }

    pub fn is_committed(&self) -> bool {
        *self.state().gate.phase() == Phase::Committed
    }

    /// Whether somebody may still want its verdict.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.state().gate.phase(), Phase::Open | Phase::Closing)
    }

    pub fn has_memory(&self) -> bool {
        !self.state().records.is_empty()
    }

    pub fn has_bytes(&self) -> bool {
        self.state().end > 0
    }

    /// Bytes that it has on one disk.
    pub fn disk_bytes(&self, wanted: usize) -> u64 {
        let state = self.state();
        let there = |part: &&Part| matches!(part.place, Place::Disk { disk, .. } if disk == wanted);
        state.parts.iter().filter(there).map(|part| part.bytes).sum()
    }

    /// All places that hold something of it.
    pub fn parts(&self) -> Vec<Part> {
        self.state().parts.clone()
    }

    pub fn object_keys(&self) -> Vec<String> {
        let key = |part: &Part| match &part.place {
            Place::Object { key } => Some(key.clone()),
            Place::Disk { .. } => None,
        };
        self.state().parts.iter().filter_map(key).collect()
    }

    /// The parts of a location that takes nothing more and has nothing left in memory; none for any other.
    pub fn complete_parts(&self) -> Option<Vec<Part>> {
        let state = self.state();
        let complete = matches!(state.gate.phase(), Phase::Closing | Phase::Committed)
            && state.records.is_empty()
            && !state.parts.is_empty();
        complete.then(|| state.parts.clone())
    }

    /// Hands out what is in memory to be written to the place that `choose` names. Must be answered with
    /// [`Self::end_write`].
    pub fn begin_write(&self, choose: impl FnOnce(NewPart<'_>) -> Option<Place>) -> Begin {
        let mut state = self.state();
        if !state.gate.may_write() || state.moving || state.records.is_empty() {
            return Begin::Nothing;
        }
        let bytes = state.end - state.stored;
        let last = state.parts.last();
        let new = NewPart { last: last.map(|part| &part.place), start: state.stored, bytes };
        let Some(place) = choose(new) else { return Begin::NoPlace };
        let continued = last.filter(|last| last.place == place);
        let (offset, crc32c_before) = continued.map_or((0, 0), |last| (last.bytes, last.crc32c));
        let pieces = state.records.iter().map(|record| record.bytes.clone()).collect();
        state.gate.begin_write();
        state.writing = state.records.len();
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

    /// Takes nothing more from now on. Nothing is promised yet.
    pub fn close(&self) {
        self.state().gate.shut();
    }

    /// Returns when no write is in progress.
    pub async fn unwritten(&self) {
        self.when(|state| state.writing == 0).await;
    }

    /// Closes the location and gives its verdict. Asked again it gives the same one (invariant 5). Writes and pending
    /// batches that do not end in time make it fail (invariants 2 and 4).
    pub async fn commit(&self, patience: Duration) -> CommitVerdict {
        let decided = async {
            loop {
                let ended = self.ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                if let Some(verdict) = self.try_commit() {
                    return verdict;
                }
                ended.await;
            }
        };
        match tokio::time::timeout(patience, decided).await {
            Ok(verdict) => verdict,
            Err(_) => {
                let reason = self.state().gate.waits_for();
                self.fail_commit(reason)
            }
        }
    }

    fn try_commit(&self) -> Option<CommitVerdict> {
        let mut state = self.state();
        match (state.gate.close(), state.end) {
            (Close::Waits, _) => None,
            (Close::Committed, 0) => Some(CommitVerdict::Empty),
            (Close::Committed, stored_bytes) => Some(CommitVerdict::Committed { stored_bytes }),
            (Close::Failed(reason), _) => Some(CommitVerdict::Failed { reason }),
        }
    }

    /// Makes a location that is not committed yet fail.
    pub fn fail_commit(&self, reason: &str) -> CommitVerdict {
        let mut state = self.state();
        if state.gate.fail(reason) {
            state.forget_data();
        }
        drop(state);
        self.try_commit().unwrap_or_else(|| CommitVerdict::Failed { reason: reason.to_owned() })
    }

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

    /// Ends the location; returns when no write or move is left that could bring its data back.
    pub async fn release(&self) {
        {
            let mut state = self.state();
            state.gate.release();
            state.forget_data();
        }
        self.when(|state| state.writing == 0 && !state.moving).await;
    }

    async fn when(&self, mut holds: impl FnMut(&State) -> bool) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if holds(&self.state()) {
                return;
            }
            ended.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Memory that a write in progress still holds is counted as free, for that long.
    fn forget_data(&mut self) {
        self.records = VecDeque::new();
        drop(self.charge.split(u64::MAX));
    }
}

#[cfg(test)]
mod tests;
