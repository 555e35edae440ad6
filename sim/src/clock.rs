//! The time of the simulation: equal on all hosts, and later in a host's next life.

use std::time::Duration;

use penstock_common::clock::{Clock, Timestamp};
use tokio::time::Instant;

/// 2026-01-01 in UTC: when every simulation begins.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// The clock of one life of a host.
#[derive(Debug)]
pub struct SimClock {
    began_ms: u64,
    began: Instant,
}

impl SimClock {
    /// `now_ms` is how long the simulation has run. To be called where the host runs.
    pub fn starting_at(now_ms: u64) -> Self {
        Self { began_ms: EPOCH_MS + now_ms, began: Instant::now() }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let now = Duration::from_millis(self.began_ms) + self.began.elapsed();
        Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    }
}
