//! Everything random of a run comes from its seed: streams of numbers, and numbers that a name stands for.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// A number that depends on all parts and on nothing else. The mixer is the finaliser of SplitMix64.
pub fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9E37_79B9_7F4A_7C15, |state, part| {
        let mut z = (state ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// A stream of random numbers that may be shared: within one simulation everything happens in one order.
#[derive(Debug)]
pub struct Dice(Mutex<StdRng>);

impl Dice {
    /// Streams of one seed with different names have nothing to do with each other.
    pub fn new(seed: u64, name: &str) -> Self {
        let name = name.bytes().map(u64::from).collect::<Vec<_>>();
        Self(Mutex::new(StdRng::seed_from_u64(mix(&[seed, mix(&name)]))))
    }

    /// From 0 to `sides` - 1.
    pub fn roll(&self, sides: u64) -> u64 {
        self.with(|random| random.random_range(0..sides))
    }

    /// Both ends included.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        self.with(|random| random.random_range(low..=high))
    }

    pub fn chance(&self, probability: f64) -> bool {
        probability > 0.0 && self.with(|random| random.random_bool(probability.min(1.0)))
    }

    pub fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len() as u64) as usize]
    }

    /// Whole milliseconds, both ends included.
    pub fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    fn with<T>(&self, act: impl FnOnce(&mut StdRng) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
