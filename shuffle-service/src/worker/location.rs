//! One partition epoch on this worker: takes batches while it is open, keeps them in memory and on disk, and gives one
//! final verdict.
//!
//! Every decision is taken under one lock, so a batch is either accepted before the location closes, and then covered by
//! the verdict, or refused (invariant 2). A write error of an open location breaks it for good (invariant 3). With one
//! copy nothing is awaited between admission and acceptance; a second copy will need a count of pending batches here.
//!
//! Committed data may stay in memory: it moves to disk only when memory runs short. That is the `none` of the later fsync
//! policy: a worker that dies loses what it held, and the producing stage is lost with it.
//!
//! Not here: which locations are flushed and when, files, sockets.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use penstock_protocol::{frame::Refusal, shuffle::CommitVerdict};
use tokio::sync::Notify;

use super::memory::{Budget, Charge};

#[derive(Debug)]
pub(super) struct Location {
    state: Mutex<State>,
    /// A write ended.
    written: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Where its file is, once it has one.
    file: Option<PathBuf>,
    /// Bytes in the file: always whole batches.
    on_disk: u64,
    /// What is not in the file yet, in order.
    records: VecDeque<Record>,
    /// How many of the first records are being written to the file now.
    writing: usize,
    /// Memory of `records`.
    charge: Charge,
    /// All bytes ever accepted.
    end: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Open,
    /// Takes nothing more and waits for a write to end.
    Closing,
    Committed,
    /// Never commits.
    Broken {
        refusal: Refusal,
        reason: String,
    },
    Released,
}

#[derive(Debug)]
struct Record {
    start: u64,
    bytes: Bytes,
}

/// A part of a location to be written.
#[derive(Debug)]
pub(super) struct Write {
    pub file: PathBuf,
    pub offset: u64,
    pub pieces: Vec<Bytes>,
    pub bytes: u64,
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
    /// Up to `available` bytes of whole batches in a file.
    Disk {
        file: PathBuf,
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
    pub fn new(budget: &Arc<Budget>) -> Self {
        let state = State {
            phase: Phase::Open,
            file: None,
            on_disk: 0,
            records: VecDeque::new(),
            writing: 0,
            charge: Charge::none(budget),
            end: 0,
        };
        Self { state: Mutex::new(state), written: Notify::new() }
    }

    /// Takes a batch, or says why not. `charge` is the memory of its bytes.
    pub fn append(&self, record: Bytes, charge: Charge) -> Result<(), Refusal> {
        let mut state = self.state();
        match &state.phase {
            Phase::Open => {}
            Phase::Closing | Phase::Committed => return Err(Refusal::Closed),
            Phase::Broken { refusal, .. } => return Err(*refusal),
            Phase::Released => return Err(Refusal::Expired),
        }
        let start = state.end;
        state.end += record.len() as u64;
        state.records.push_back(Record { start, bytes: record });
        state.charge.merge(charge);
        Ok(())
    }

    pub fn is_open(&self) -> bool {
        self.state().phase == Phase::Open
    }

    pub fn is_untouched(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Open && state.end == 0
    }

    /// Bytes that a flush would free.
    pub fn flushable_bytes(&self) -> u64 {
        let state = self.state();
        let may_write = state.writing == 0 && matches!(state.phase, Phase::Open | Phase::Committed);
        if may_write { state.end - state.on_disk } else { 0 }
    }

    /// What an operator and the masters see of it.
    pub fn summary(&self) -> Summary {
        let state = self.state();
        let phase = match state.phase {
            Phase::Open => "open",
            Phase::Closing => "closing",
            Phase::Committed => "committed",
            Phase::Broken { .. } => "broken",
            Phase::Released => "released",
        };
        let bytes = if state.records.is_empty() { state.on_disk } else { state.end };
        Summary { phase, bytes, disk_bytes: state.on_disk }
    }

    /// Hands out what is in memory to be written; `file` is used if the location has none yet. Must be answered with
    /// [`Self::end_write`].
    pub fn begin_write(&self, file: impl FnOnce() -> PathBuf) -> Option<Write> {
        let mut state = self.state();
        let may_write = matches!(state.phase, Phase::Open | Phase::Committed);
        if !may_write || state.writing > 0 || state.records.is_empty() {
            return None;
        }
        state.writing = state.records.len();
        let file = state.file.get_or_insert_with(file).clone();
        let pieces = state.records.iter().map(|record| record.bytes.clone()).collect();
        Some(Write { file, offset: state.on_disk, pieces, bytes: state.end - state.on_disk })
    }

    /// Takes the outcome of a write. An error breaks the location, unless its data is committed: that was promised, so it
    /// stays in memory.
    pub fn end_write(&self, outcome: Result<(), (Refusal, String)>) -> Written {
        let mut state = self.state();
        let writing = std::mem::take(&mut state.writing);
        let written = match (&state.phase, outcome) {
            (Phase::Released | Phase::Broken { .. }, _) => Written::Freed,
            (_, Ok(())) => {
                let bytes: u64 = state.records.drain(..writing).map(|record| record.bytes.len() as u64).sum();
                state.on_disk += bytes;
                drop(state.charge.split(bytes));
                Written::Freed
            }
            (Phase::Committed, Err(_)) => Written::Kept,
            (Phase::Open | Phase::Closing, Err((refusal, reason))) => {
                state.give_up(Phase::Broken { refusal, reason });
                Written::Freed
            }
        };
        drop(state);
        self.written.notify_waiters();
        written
    }

    /// Closes the location and gives its verdict. Asked again it gives the same one (invariant 5). A write that does not
    /// end in time makes it fail (invariant 4).
    pub async fn commit(&self, patience: Duration) -> CommitVerdict {
        let decided = async {
            loop {
                let written = self.written.notified();
                tokio::pin!(written);
                written.as_mut().enable();
                if let Some(verdict) = self.try_commit() {
                    return verdict;
                }
                written.await;
            }
        };
        match tokio::time::timeout(patience, decided).await {
            Ok(verdict) => verdict,
            Err(_) => self.fail_commit("a write did not end in time"),
        }
    }

    fn try_commit(&self) -> Option<CommitVerdict> {
        let mut state = self.state();
        match &state.phase {
            Phase::Open | Phase::Closing if state.writing > 0 => {
                state.phase = Phase::Closing;
                return None;
            }
            Phase::Open | Phase::Closing => state.phase = Phase::Committed,
            Phase::Committed => {}
            Phase::Broken { reason, .. } => return Some(CommitVerdict::Failed { reason: reason.clone() }),
            Phase::Released => return Some(CommitVerdict::Failed { reason: "it was released".to_owned() }),
        }
        Some(match state.end {
            0 => CommitVerdict::Empty,
            stored_bytes => CommitVerdict::Committed { stored_bytes },
        })
    }

    /// Makes a location that is not committed yet fail.
    pub fn fail_commit(&self, reason: &str) -> CommitVerdict {
        let mut state = self.state();
        if matches!(state.phase, Phase::Open | Phase::Closing) {
            state.give_up(Phase::Broken { refusal: Refusal::Broken, reason: reason.to_owned() });
        }
        drop(state);
        self.try_commit().unwrap_or_else(|| CommitVerdict::Failed { reason: reason.to_owned() })
    }

    /// What a reader at `offset` gets next; `offset` is 0 or the end of a batch.
    pub fn chunk(&self, offset: u64, bytes_max: u64) -> Result<Chunk, Refusal> {
        let state = self.state();
        match &state.phase {
            Phase::Committed => {}
            Phase::Open | Phase::Closing => return Err(Refusal::Open),
            Phase::Broken { .. } => return Err(Refusal::Broken),
            Phase::Released => return Err(Refusal::Expired),
        }
        if offset == state.end {
            return Ok(Chunk::End);
        }
        if offset < state.on_disk {
            let file = state.file.clone().ok_or(Refusal::Unreadable)?;
            return Ok(Chunk::Disk { file, available: state.on_disk - offset });
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

    /// Ends the location; returns when no write is left that could bring its file back.
    pub async fn release(&self) {
        loop {
            let written = self.written.notified();
            tokio::pin!(written);
            written.as_mut().enable();
            {
                let mut state = self.state();
                state.give_up(Phase::Released);
                if state.writing == 0 {
                    return;
                }
            }
            written.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets the data; memory that a write in progress still holds is counted as free, for that long.
    fn give_up(&mut self, phase: Phase) {
        self.phase = phase;
        self.records = VecDeque::new();
        drop(self.charge.split(u64::MAX));
    }
}

#[cfg(test)]
mod tests;
