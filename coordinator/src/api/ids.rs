//! Ids of new jobs: UUIDv7 that grow with each job of this process, also within a millisecond.

use std::sync::{Mutex, PoisonError};

use penstock_common::clock::Timestamp;
use penstock_protocol::ids::JobId;
use rand::{Rng, SeedableRng, rngs::StdRng};
use uuid::Uuid;

const COUNTER_MAX: u16 = 0x0fff;

#[derive(Debug)]
pub struct JobIds {
    last: Mutex<Last>,
}

/// The millisecond and the counter of the id before, and where its random part came from.
#[derive(Debug)]
struct Last {
    millis: u64,
    counter: u16,
    random: StdRng,
}

/// Ids must differ from those of every other coordinator.
impl Default for JobIds {
    fn default() -> Self {
        Self::new(StdRng::from_os_rng())
    }
}

impl JobIds {
    /// The same ids for the same seed and times: for simulations.
    pub fn with_seed(seed: u64) -> Self {
        Self::new(StdRng::seed_from_u64(seed))
    }

    fn new(random: StdRng) -> Self {
        Self { last: Mutex::new(Last { millis: 0, counter: 0, random }) }
    }

    pub fn next(&self, now: Timestamp) -> JobId {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.advance(u64::try_from(now.as_millis()).unwrap_or(0));
        let high = (last.millis << 16) | 0x7000 | u64::from(last.counter);
        let low = (last.random.random::<u64>() >> 2) | (0b10 << 62);
        JobId(Uuid::from_u64_pair(high, low))
    }
}

impl Last {
    fn advance(&mut self, now_millis: u64) {
        (self.millis, self.counter) = match (self.millis, self.counter) {
            (millis, _) if now_millis > millis => (now_millis, 0),
            (millis, COUNTER_MAX) => (millis + 1, 0),
            (millis, counter) => (millis, counter + 1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_grow_even_when_the_clock_stands_or_steps_back() {
        let ids = JobIds::default();
        let times = std::iter::repeat_n(1_700_000_000_000, 5_000).chain([1_600_000_000_000]);
        let made: Vec<JobId> = times.map(|millis| ids.next(Timestamp::from_millis(millis))).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(made[0].0.get_version_num(), 7);
        assert_eq!(made[0].0.get_variant(), uuid::Variant::RFC4122);
    }
}
