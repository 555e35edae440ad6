//! How much memory each stream may have for what it fetches: all have the same, however many they are.
//!
//! Never less than a minimum, because a merge needs all of its streams to move.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::options::ClientOptions;

#[derive(Debug)]
pub(super) struct Shares {
    held: AtomicUsize,
    bytes_total: usize,
    bytes_min: usize,
    bytes_max: usize,
}

/// The right to hold [`Self::bytes`].
#[derive(Debug)]
pub(super) struct Share(Arc<Shares>);

impl Shares {
    pub fn new(options: &ClientOptions) -> Self {
        Self {
            held: AtomicUsize::new(0),
            bytes_total: options.fetch_bytes_total,
            bytes_min: options.fetch_stream_bytes_min,
            bytes_max: options.fetch_stream_bytes_max,
        }
    }

    pub fn take(self: &Arc<Self>) -> Share {
        self.held.fetch_add(1, Ordering::Relaxed);
        Share(Arc::clone(self))
    }

    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Share {
    /// At the moment: the more shares there are, the less it is.
    pub fn bytes(&self) -> usize {
        let Shares { bytes_total, bytes_min, bytes_max, .. } = *self.0;
        (bytes_total / self.0.held().max(1)).clamp(bytes_min, bytes_max)
    }

    pub fn credit(&self) -> u32 {
        u32::try_from(self.bytes()).unwrap_or(u32::MAX)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_are_no_more_than_the_whole_unless_each_is_at_its_minimum() {
        let options = ClientOptions {
            fetch_bytes_total: 1000,
            fetch_stream_bytes_min: 50,
            fetch_stream_bytes_max: 400,
            ..ClientOptions::default()
        };
        let shares = Arc::new(Shares::new(&options));
        let mut taken = vec![shares.take()];
        assert_eq!(taken[0].bytes(), 400);
        taken.extend((1..4).map(|_| shares.take()));
        assert_eq!(taken[0].bytes(), 250);
        taken.extend((4..100).map(|_| shares.take()));
        assert_eq!(taken[0].bytes(), 50);
        taken.truncate(5);
        assert_eq!(taken[0].bytes(), 200);
    }
}
