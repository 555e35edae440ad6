//! How fast this worker writes and reads lately, for placement by load.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const MIB: f64 = 1_048_576.0;
/// So many bytes weigh as much as everything before them.
const MEMORY_BYTES: f64 = 64.0 * MIB;

#[derive(Debug, Default)]
pub(super) struct Pace {
    pub flush: Average,
    pub fetch: Average,
}

/// Microseconds for one MiB, a moving average weighted by bytes. 0 until something was measured.
#[derive(Debug, Default)]
pub(super) struct Average(AtomicU64);

impl Average {
    pub fn record(&self, bytes: u64, took: Duration) {
        if bytes == 0 {
            return;
        }
        let bytes = bytes as f64;
        let now = took.as_secs_f64() * 1e6 / (bytes / MIB);
        let next = |bits: u64| {
            let before = f64::from_bits(bits);
            let share = if before == 0.0 { 1.0 } else { bytes / (bytes + MEMORY_BYTES) };
            // Never back to "not measured".
            Some((before + (now - before) * share).max(f64::MIN_POSITIVE).to_bits())
        };
        // The closure always gives a value.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    pub fn us_per_mib(&self) -> u64 {
        f64::from_bits(self.0.load(Ordering::Relaxed)).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_moves_by_bytes_and_is_never_zero_once_measured() {
        let average = Average::default();
        assert_eq!(average.us_per_mib(), 0);
        average.record(1 << 20, Duration::from_micros(1000));
        assert_eq!(average.us_per_mib(), 1000);
        average.record(64 << 20, Duration::from_micros(64 * 3000));
        assert_eq!(average.us_per_mib(), 2000);
        average.record(1, Duration::from_secs(1));
        assert!(average.us_per_mib() < 20_000, "one byte says little");
        let instant = Average::default();
        instant.record(1 << 30, Duration::ZERO);
        assert_eq!(instant.us_per_mib(), 1);
    }
}
