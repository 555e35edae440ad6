//! Ids of new jobs: UUIDv7 that grow with each job of this process, also within a millisecond.

use std::sync::{Mutex, PoisonError};

use penstock_common::clock::Timestamp;
use penstock_protocol::ids::JobId;
use uuid::Uuid;

const COUNTER_MAX: u16 = 0x0fff;

#[derive(Debug, Default)]
pub struct JobIds {
    /// The millisecond and the counter of the id before.
    last: Mutex<(u64, u16)>,
}

impl JobIds {
    #[allow(clippy::disallowed_methods, reason = "an id must differ from those of every other coordinator")]
    pub fn next(&self, now: Timestamp) -> JobId {
        let (millis, counter) = self.advance(u64::try_from(now.as_millis()).unwrap_or(0));
        let random: u64 = rand::random();
        let high = (millis << 16) | 0x7000 | u64::from(counter);
        let low = (random >> 2) | (0b10 << 62);
        JobId(Uuid::from_u64_pair(high, low))
    }

    fn advance(&self, now_millis: u64) -> (u64, u16) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = match *last {
            (millis, _) if now_millis > millis => (now_millis, 0),
            (millis, COUNTER_MAX) => (millis + 1, 0),
            (millis, counter) => (millis, counter + 1),
        };
        *last
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
