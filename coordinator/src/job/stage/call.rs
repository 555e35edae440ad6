//! Calls to the shuffle service: asked again while they fail, for as long as the settings say.

use penstock_common::clock::Timestamp;

use crate::job::Limits;

/// A call to the shuffle service that may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Of the first try.
    pub since: Timestamp,
    pub tries: u32,
    /// When to ask again; none while an answer is awaited.
    pub retry_at: Option<Timestamp>,
}

impl Call {
    pub(super) fn first(now: Timestamp) -> Self {
        Self { since: now, tries: 1, retry_at: None }
    }

    /// When to ask again after the last try failed; none if that was long enough.
    pub fn next_try(&self, now: Timestamp, limits: &Limits) -> Option<Timestamp> {
        let gives_up_at = self.since + limits.shuffle_patience;
        (now < gives_up_at).then(|| gives_up_at.min(now + limits.retry_delay(self.tries)))
    }

    pub(super) fn again(&mut self) {
        self.tries += 1;
        self.retry_at = None;
    }
}

/// A call to the shuffle service that keeps failing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub since: Timestamp,
    /// What the last try said.
    pub message: String,
}
