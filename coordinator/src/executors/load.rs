//! How busy an executor is, from the samples in its heartbeats, at the rate that jobs' event logs can bear.

use std::time::Duration;

use penstock_common::clock::Timestamp;
use penstock_protocol::wire::executor::NodeSample;

/// How often an executor's load is recorded at most.
const RECORD_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Load {
    newest: NodeSample,
    recorded_at: Option<Timestamp>,
    /// Since the last record.
    heard: u32,
    cpu_used: f64,
    memory_used_bytes: u64,
    scratch_used_bytes: u64,
}

impl Load {
    pub fn newest(&self) -> NodeSample {
        self.newest
    }

    /// Takes a sample in. When it is time for a record: the mean of the CPU and the peaks of the rest since the last
    /// one.
    pub fn hear(&mut self, now: Timestamp, sample: NodeSample) -> Option<NodeSample> {
        self.newest = sample;
        self.heard += 1;
        self.cpu_used += sample.cpu_used;
        self.memory_used_bytes = self.memory_used_bytes.max(sample.memory_used_bytes);
        self.scratch_used_bytes = self.scratch_used_bytes.max(sample.scratch_used_bytes);
        if self.recorded_at.is_some_and(|at| now - at < RECORD_EVERY) {
            return None;
        }
        let record = NodeSample {
            cpu_used: self.cpu_used / f64::from(self.heard),
            memory_used_bytes: self.memory_used_bytes,
            memory_limit_bytes: sample.memory_limit_bytes,
            scratch_used_bytes: self.scratch_used_bytes,
        };
        *self = Self { newest: sample, recorded_at: Some(now), ..Self::default() };
        Some(record)
    }

    /// Takes in a sample of an executor that nobody uses: there is nobody to record it for.
    pub fn idle(&mut self, sample: NodeSample) {
        *self = Self { newest: sample, recorded_at: self.recorded_at, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample(cpu_used: f64, memory_used_bytes: u64) -> NodeSample {
        NodeSample { cpu_used, memory_used_bytes, memory_limit_bytes: 100, scratch_used_bytes: 0 }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    #[test]
    fn what_is_recorded_covers_all_that_was_heard_since_the_last_record() {
        let mut load = Load::default();
        assert_eq!(load.hear(at(0), sample(1.0, 10)), Some(sample(1.0, 10)));
        assert_eq!(load.hear(at(4), sample(4.0, 70)), None);
        assert_eq!(load.hear(at(9), sample(1.0, 20)), None);
        assert_eq!(load.hear(at(10), sample(1.0, 30)), Some(sample(2.0, 70)));
        assert_eq!(load.hear(at(20), sample(0.5, 5)), Some(sample(0.5, 5)));
    }

    #[test]
    fn idle_time_is_not_part_of_a_record() {
        let mut load = Load::default();
        load.hear(at(0), sample(1.0, 10)).unwrap();
        (1..60).for_each(|second| load.idle(sample(0.0, second)));
        assert_eq!(load.newest(), sample(0.0, 59));
        assert_eq!(load.hear(at(60), sample(3.0, 10)), Some(sample(3.0, 10)));
    }
}
