//! Turns the segments of a log into a model, one segment at a time.
//!
//! Tolerant: unknown fields are ignored, unknown events and unreadable lines are counted, a damaged segment gives what
//! it has and leaves a mark. A segment may be offered again, longer than before: records that were applied are known
//! by their number. Memory is the model's plus one line.

use penstock_protocol::event::Record;

use crate::{
    model::JobModel,
    segment::{self, End},
};

#[derive(Debug, Default)]
pub struct Replay {
    model: JobModel,
    /// Number of the next record, once one was seen.
    next_seq: Option<u64>,
    /// The first record of each segment, so that events can be found by their number.
    starts: Vec<SegmentStart>,
    /// The first segment that has not been read to its end.
    resume_at: u64,
}

/// Where a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentStart {
    pub number: u64,
    pub seq: u64,
}

impl Replay {
    pub fn model(&self) -> &JobModel {
        &self.model
    }

    pub fn starts(&self) -> &[SegmentStart] {
        &self.starts
    }

    /// Segments before this one are done with.
    pub fn resume_at(&self) -> u64 {
        self.resume_at
    }

    /// Applies one segment. `is_last` says that no later one exists yet: such a segment may still grow, so a damaged
    /// end is offered again.
    pub fn apply_segment(&mut self, number: u64, name: &str, bytes: &[u8], is_last: bool) {
        let (mut first, mut unreadable) = (None, 0);
        let end = segment::for_each_line(bytes, |line| match self.apply_line(line) {
            Some(seq) => first = first.or(Some(seq)),
            None => unreadable += 1,
        });
        if let Some(seq) = first
            && self.starts.last().is_none_or(|last| last.number < number)
        {
            self.starts.push(SegmentStart { number, seq });
        }
        match end {
            End::Cut { .. } if is_last && self.model.finished.is_none() => {
                // Perhaps half written: look again, and say so only until then.
                self.resume_at = number;
                self.model.log.pending_cut = Some(name.to_owned());
                return;
            }
            End::Cut { reason } => self.model.log.cut(name, &reason),
            End::Complete => {}
        }
        self.model.log.pending_cut = None;
        self.model.log.unreadable += unreadable;
        self.model.log.segments += 1;
        self.model.log.compressed_bytes += bytes.len() as u64;
        self.resume_at = number + 1;
    }

    /// Returns the record's number, or nothing for a line that is not a record.
    fn apply_line(&mut self, line: &[u8]) -> Option<u64> {
        let record = serde_json::from_slice::<Record>(line).ok()?;
        let seq = record.seq;
        match self.next_seq {
            Some(next) if seq < next => return Some(seq),
            Some(next) => self.model.log.missing += seq - next,
            // Numbers begin at 0 or 1.
            None => self.model.log.missing += seq.saturating_sub(1),
        }
        self.next_seq = Some(seq + 1);
        self.model.log.records += 1;
        self.model.log.version = self.model.log.version.max(record.v);
        self.model.apply(record.at_ms, record.event);
        Some(seq)
    }
}
