//! One partition epoch on this worker: takes batches while it is open, keeps them in memory and on disk, and gives one
//! final verdict.
//!
//! Every decision is taken by a [`Gate`] under one lock: which batches are taken, when it splits, what its end waits for.
//!
//! What has left memory lies in parts, each in one file or object. A part may move to another place while it is read: who
//! asks next is told the new place, and whoever has the old one open reads it to its end (invariant 28).
//!
//! Not here: which locations are flushed and when, where to, files, sockets.

mod end;
mod facts;
mod gate;
mod map_index;
mod moves;
mod part;
mod pending;
mod read;
mod write;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use penstock_protocol::{
    frame::{BatchHeader, Refusal},
    ids::Incarnation,
};
use tokio::sync::{Notify, OnceCell};

use self::{gate::Gate, map_index::MapIndex};
pub(super) use self::{
    moves::{Places, Reads, Run, Upcoming, clear},
    part::{NewPart, Part, Place},
    pending::Pending,
    read::Chunk,
    write::{Begin, Stored, Write, Written},
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
    /// The number of the placement that made it.
    placement: u64,
    /// The way to its second copy.
    replica: Option<Arc<Link>>,
}

/// What reserves a location.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Placement<'a> {
    /// Larger than that of any placement before.
    pub number: u64,
    /// The way to its second copy.
    pub replica: Option<&'a Arc<Link>>,
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

impl Location {
    pub fn new(budget: &Arc<Budget>, life: Incarnation) -> Self {
        Self::with(Gate::new(), budget, life, Vec::new(), OnceCell::new_with(Some(Ok(()))))
    }

    /// Asks for a split from this size.
    pub fn splitting_from(self, split_from_bytes: u64) -> Self {
        Self { split_from_bytes, ..self }
    }

    /// Sends a second copy of everything where the placement says.
    pub fn placed_by(self, Placement { number, replica }: Placement<'_>) -> Self {
        Self { placement: number, replica: replica.cloned(), ..self }
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
        Self { life, proof, state: Mutex::new(state), ended, split_from_bytes, placement: 0, replica: None }
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

    /// Whether this placement, or one after it, made it.
    pub fn is_of(&self, placement: Placement<'_>) -> bool {
        self.placement >= placement.number
    }

    /// What `look` finds first; it looks again whenever something has ended.
    async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if let Some(found) = look(&mut self.state()) {
                return found;
            }
            ended.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        #[cfg(test)]
        super::models::switch();
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Memory that a write in progress still holds is counted as free, for that long.
    fn forget_data(&mut self) {
        self.records = VecDeque::new();
        drop(self.charge.split(u64::MAX));
    }
}

#[cfg(test)]
mod models;
#[cfg(test)]
mod tests;
