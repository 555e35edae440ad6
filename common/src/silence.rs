//! How long a peer has said nothing, counted in beats.
//!
//! A beat is a wait that ended without a word. Whoever stood still itself (a busy machine, a stopped process) has waited one
//! beat, however long that took: its own pause is not taken for the peer's. Pure; the caller waits.

use std::time::Duration;

/// Beats of the shortest patience.
const BEATS: u32 = 4;

#[derive(Debug, Clone)]
pub struct Silence {
    beat: Duration,
    beats: u32,
}

impl Silence {
    /// `patience_min`: the shortest silence that anybody asks about.
    pub fn new(patience_min: Duration) -> Self {
        Self { beat: (patience_min / BEATS).max(Duration::from_millis(1)), beats: 0 }
    }

    /// How long to wait for a word.
    pub fn beat(&self) -> Duration {
        self.beat
    }

    /// The peer said something, or owes nothing.
    pub fn broken(&mut self) {
        self.beats = 0;
    }

    /// One more beat without a word.
    pub fn goes_on(&mut self) {
        self.beats = self.beats.saturating_add(1);
    }

    /// Whether it has lasted for all of `patience`. The first beat does not count: what the peer owes may have come up at its
    /// end.
    pub fn is_longer_than(&self, patience: Duration) -> bool {
        self.lasted() > patience
    }

    pub fn lasted(&self) -> Duration {
        self.beat.saturating_mul(self.beats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(beats: u32) -> Silence {
        let mut silence = Silence::new(SECOND);
        (0..beats).for_each(|_| silence.goes_on());
        silence
    }

    #[test]
    fn a_silence_is_as_long_as_the_beats_that_were_counted_without_the_first_one() {
        assert!(!after(4).is_longer_than(SECOND));
        assert!(after(5).is_longer_than(SECOND));
        assert!(!after(5).is_longer_than(2 * SECOND));
    }

    #[test]
    fn a_word_ends_it() {
        let mut silence = after(4);
        silence.broken();
        silence.goes_on();
        assert!(!silence.is_longer_than(SECOND));
    }
}
