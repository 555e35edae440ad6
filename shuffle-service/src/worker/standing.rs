//! Whether this worker stays: it serves, drains at an operator's word, was asked to stop, or was told that its machine goes
//! away.
//!
//! Masters hear it with the next report, which is made at once. Kept for one life: a worker that starts again serves.

use std::time::Duration;

use penstock_common::clock::Timestamp;
use tokio::sync::watch;

/// Ten years, so that no notice is out of a timestamp's range.
const SECONDS_MAX: u64 = 315_360_000;

#[derive(Debug)]
pub(super) struct Standing(watch::Sender<State>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    /// Nothing new is wanted here; what is here stays until it is released.
    pub draining: bool,
    /// As draining, and for good.
    pub stopping: bool,
    /// When the machine goes, if somebody said so.
    pub leaves_at: Option<Timestamp>,
}

impl State {
    /// Whether batches and reservations are to go elsewhere. Commits and reads are served all the same.
    pub fn takes_nothing(self) -> bool {
        self.draining || self.stopping
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self(watch::Sender::new(State::default()))
    }
}

impl Standing {
    pub fn get(&self) -> State {
        *self.0.borrow()
    }

    /// Starts or ends draining; true if that is news.
    pub fn set_draining(&self, draining: bool) -> bool {
        self.0.send_if_modified(|state| std::mem::replace(&mut state.draining, draining) != draining)
    }

    /// The process was asked to stop.
    pub fn set_stopping(&self) {
        self.0.send_if_modified(|state| !std::mem::replace(&mut state.stopping, true));
    }

    /// Takes a notice that the machine goes in so many seconds, or that it stays after all; returns when it goes.
    pub fn interrupt(&self, now: Timestamp, seconds: Option<u64>) -> Option<Timestamp> {
        let leaves_at = seconds.map(|seconds| now + Duration::from_secs(seconds.min(SECONDS_MAX)));
        match seconds {
            Some(seconds) => tracing::warn!(seconds, "the machine of this worker will go away"),
            None => tracing::info!("the machine of this worker stays"),
        }
        self.0.send_if_modified(|state| std::mem::replace(&mut state.leaves_at, leaves_at) != leaves_at);
        leaves_at
    }

    /// Resolves at the next change after the last one seen.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }
}
