//! What others ask of a location.

use super::{Location, Part, Place, gate::Phase};

/// A location in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) struct Summary {
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

    pub fn is_open(&self) -> bool {
        *self.state().gate.phase() == Phase::Open
    }

    pub fn is_untouched(&self) -> bool {
        let state = self.state();
        *state.gate.phase() == Phase::Open && state.end == 0
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

    /// Bytes that a flush would free.
    pub fn flushable_bytes(&self) -> u64 {
        let state = self.state();
        let may_flush =
            state.gate.may_write() && matches!(state.gate.phase(), Phase::Open | Phase::Committed);
        if may_flush { state.end - state.stored } else { 0 }
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
}
