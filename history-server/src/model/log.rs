//! How much of a log could be read.

/// Told on the job's page, so that nobody takes a part for the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogHealth {
    pub segments: u64,
    pub compressed_bytes: u64,
    pub records: u64,
    /// Records of a type that a newer version wrote.
    pub unknown: u64,
    /// Lines that are not records.
    pub unreadable: u64,
    /// Records that the sequence numbers say existed and that were not found.
    pub missing: u64,
    /// Damaged segments with what is wrong, the first few.
    pub cuts: Vec<String>,
    /// The newest segment, while its end cannot be read: it may still be being written.
    pub pending_cut: Option<String>,
    /// The newest schema version seen.
    pub version: u32,
}

const CUTS_MAX: usize = 8;

impl LogHealth {
    pub fn cut(&mut self, segment: &str, reason: &str) {
        let mark = format!("{segment}: {reason}");
        if self.cuts.len() < CUTS_MAX && !self.cuts.contains(&mark) {
            self.cuts.push(mark);
        }
    }

    pub fn is_whole(&self) -> bool {
        self.unknown == 0
            && self.unreadable == 0
            && self.missing == 0
            && self.cuts.is_empty()
            && self.pending_cut.is_none()
    }
}
