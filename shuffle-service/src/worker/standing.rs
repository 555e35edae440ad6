//! Whether this worker stays: it serves, drains at an operator's word, was asked to stop, or was told that its machine goes
//! away.
//!
//! Masters hear it with the next report, which is made at once. Kept for one life: a worker that starts again serves until
//! a master that remembers what operators said of it says otherwise.

use std::time::Duration;

use penstock_common::clock::Timestamp;
use tokio::sync::watch;

use crate::ordered::{DrainOrder, Ordered};

/// Ten years, so that no notice is out of a timestamp's range.
const SECONDS_MAX: u64 = 315_360_000;

#[derive(Debug)]
pub(super) struct Standing(watch::Sender<State>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    /// What operators said last, here or to a master: `true` if nothing new is wanted here; what is here stays until it is
    /// released.
    pub drain: Option<DrainOrder>,
    /// As one that drains, and for good.
    pub stopping: bool,
    /// When the machine goes, if somebody said so.
    pub leaves_at: Option<Timestamp>,
}

impl State {
    /// Whether batches and reservations are to go elsewhere. Commits and reads are served all the same.
    pub fn takes_nothing(self) -> bool {
        self.stopping || self.drain.is_some_and(|order| order.what)
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

    /// An order that is given here.
    pub fn order(&self, now: Timestamp, drain: bool) {
        self.0.send_modify(|state| {
            state.drain = Some(Ordered::after(state.drain.as_ref(), now, drain));
        });
    }

    /// Takes an order that was given elsewhere; true if it is a later one that changes what this worker does.
    pub fn hear(&self, order: DrainOrder) -> bool {
        let mut before = None;
        let is_later = self.0.send_if_modified(|state| {
            before = state.drain;
            state.drain = state.drain.max(Some(order));
            state.drain != before
        });
        is_later && order.what != before.is_some_and(|before| before.what)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn order(millis: i64, what: bool) -> DrainOrder {
        Ordered { at: Timestamp::from_millis(millis), what }
    }

    #[test]
    fn the_latest_order_counts_whoever_gave_it() {
        let standing = Standing::default();
        assert!(standing.hear(order(5, true)));
        assert!(!standing.hear(order(4, false)), "another master has not heard of the later one");
        assert!(!standing.hear(order(6, true)), "it drains already");
        assert_eq!(standing.get().drain, Some(order(6, true)));
        standing.order(Timestamp::from_millis(1), false);
        assert_eq!(standing.get().drain, Some(order(7, false)), "here, with a clock that is behind");
        assert!(!standing.hear(order(6, true)));
        assert!(!standing.get().takes_nothing());
    }

    #[test]
    fn a_worker_that_stops_takes_nothing_whatever_it_is_told() {
        let standing = Standing::default();
        standing.set_stopping();
        standing.order(Timestamp::from_millis(1), false);
        assert!(standing.get().takes_nothing());
    }
}
