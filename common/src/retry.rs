//! Waits between tries: exponential, capped, with full jitter, so that many callers do not come back together.

use std::{future::Future, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// The waits before each further try. Endless unless limited with [`Backoff::tries`].
#[derive(Debug, Clone)]
pub struct Backoff {
    next_max: Duration,
    cap: Duration,
    left: Option<u32>,
    random: StdRng,
}

impl Backoff {
    /// The first wait is at most `base`, each further one at most twice the former and never more than `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        let random = StdRng::from_rng(&mut rand::rng());
        Self { next_max: base.min(cap), cap, left: None, random }
    }

    /// The same waits for the same seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.random = StdRng::seed_from_u64(seed);
        self
    }

    /// At most `tries` tries, hence one wait less.
    pub fn tries(mut self, tries: u32) -> Self {
        self.left = Some(tries.saturating_sub(1));
        self
    }

    /// The next wait, even if all tries are used up.
    pub fn one_more(&mut self) -> Duration {
        let wait = self.next_max.mul_f64(self.random.random_range(0.0..=1.0));
        self.next_max = self.next_max.saturating_mul(2).min(self.cap);
        wait
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        Some(self.one_more())
    }
}

/// Calls `operation` until it succeeds, fails in a way that a retry cannot mend, or the waits are used up.
pub async fn retry<T, E, Call, Answer>(
    mut waits: impl Iterator<Item = Duration>,
    retry_may_help: impl Fn(&E) -> bool,
    mut operation: Call,
) -> Result<T, E>
where
    Call: FnMut() -> Answer,
    Answer: Future<Output = Result<T, E>>,
{
    loop {
        let failure = match operation().await {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        if !retry_may_help(&failure) {
            return Err(failure);
        }
        let Some(wait) = waits.next() else { return Err(failure) };
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(1);

    #[test]
    fn waits_stay_below_the_doubled_base_and_the_cap() {
        let waits: Vec<_> = Backoff::new(BASE, CAP).with_seed(7).take(8).collect();
        let bounds = [100, 200, 400, 800, 1000, 1000, 1000, 1000].map(Duration::from_millis);
        assert!(waits.iter().zip(bounds).all(|(wait, bound)| *wait <= bound), "{waits:?}");
    }

    #[test]
    fn one_seed_gives_the_same_waits_twice() {
        let waits = |seed| Backoff::new(BASE, CAP).with_seed(seed).take(5).collect::<Vec<_>>();
        assert_eq!(waits(3), waits(3));
        assert_ne!(waits(3), waits(4));
    }

    async fn calls_until_done(tries: u32, succeed_at: u32, retry_may_help: bool) -> (Result<u32, u32>, u32) {
        let calls = Cell::new(0);
        let result = retry(
            Backoff::new(Duration::ZERO, Duration::ZERO).tries(tries),
            |_| retry_may_help,
            || {
                calls.set(calls.get() + 1);
                let call = calls.get();
                async move { if call >= succeed_at { Ok(call) } else { Err(call) } }
            },
        )
        .await;
        (result, calls.get())
    }

    #[tokio::test]
    async fn an_operation_is_called_until_it_succeeds() {
        assert_eq!(calls_until_done(5, 3, true).await, (Ok(3), 3));
    }

    #[tokio::test]
    async fn the_last_failure_is_returned_when_the_tries_are_used_up() {
        assert_eq!(calls_until_done(2, 9, true).await, (Err(2), 2));
    }

    #[tokio::test]
    async fn a_failure_that_no_retry_mends_is_returned_at_once() {
        assert_eq!(calls_until_done(5, 9, false).await, (Err(1), 1));
    }
}
