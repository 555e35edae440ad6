//! Deletes from the object store what nobody wants any more: what was released, what was copied for nothing, and what may have
//! come of an upload that failed.
//!
//! In: keys, from whoever gives up the last use of them and does not wait. A store that is away loses none: what could not be
//! deleted is tried again. No key is ever used again, so a deletion may come as late as it likes; of an upload that failed
//! one comes later once more, since it may take effect after the first. Not here: what former lives left, which nobody of
//! this one knows the keys of.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
};

use penstock_common::{lifecycle::CancellationToken, retry::Backoff};
use tokio::{sync::Notify, time::Instant};

use super::objects::Objects;
use crate::metrics;

/// What comes when so many wait stays in the store: the next life of the worker finds it forgotten.
const KEYS_MAX: usize = 200_000;
/// As many as S3 deletes with one request.
const BATCH_KEYS: usize = 1000;
/// The first pause after a failure is at most this part of a call's time, the longest one all of it.
const PAUSE_PART: u32 = 60;

/// Keys that wait for their deletion.
#[derive(Debug)]
pub(super) struct Unwanted {
    keys_max: usize,
    state: Mutex<State>,
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    keys: VecDeque<String>,
    /// Those that are due later, in the order in which they are; they count like the others.
    later: VecDeque<(Instant, String)>,
    /// More came than may wait, since none waited last.
    has_overflowed: bool,
}

impl State {
    fn waiting(&self) -> usize {
        self.keys.len() + self.later.len()
    }

    fn take_due(&mut self, now: Instant) {
        while let Some((_, key)) = self.later.pop_front_if(|(due, _)| *due <= now) {
            self.keys.push_back(key);
        }
    }
}

impl Default for Unwanted {
    fn default() -> Self {
        Self { keys_max: KEYS_MAX, state: Mutex::default(), added: Notify::new() }
    }
}

impl Unwanted {
    /// What may come into being yet is deleted now and at `due`, which is later than those that were named before.
    pub fn add_twice(&self, key: String, due: Instant) {
        {
            let mut state = self.state();
            if state.waiting() < self.keys_max {
                state.later.push_back((due, key.clone()));
            }
        }
        self.add([key]);
    }

    pub fn add(&self, keys: impl IntoIterator<Item = String>) {
        let (abandoned, is_news) = {
            let mut state = self.state();
            let mut keys = keys.into_iter();
            let room = self.keys_max - state.waiting();
            state.keys.extend(keys.by_ref().take(room));
            metrics::unwanted_objects(state.waiting());
            let abandoned = keys.count();
            (abandoned, abandoned > 0 && !std::mem::replace(&mut state.has_overflowed, true))
        };
        if is_news {
            let waiting = self.keys_max;
            tracing::warn!(
                waiting,
                "too many objects wait for their deletion: more stay until this worker starts again"
            );
        }
        metrics::abandoned_objects(abandoned);
        self.added.notify_one();
    }

    /// Those that have waited for longest, as many as are deleted at once; they go on waiting.
    pub async fn first(&self) -> Vec<String> {
        loop {
            let (first, due) = {
                let mut state = self.state();
                state.take_due(Instant::now());
                let first: Vec<_> = state.keys.iter().take(BATCH_KEYS).cloned().collect();
                (first, state.later.front().map(|(due, _)| *due))
            };
            if !first.is_empty() {
                return first;
            }
            match due {
                None => self.added.notified().await,
                Some(due) => {
                    tokio::select! {
                        () = self.added.notified() => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
            }
        }
    }

    /// So many of the first ones are gone.
    fn deleted(&self, keys: usize) {
        let mut state = self.state();
        state.keys.drain(..keys);
        state.has_overflowed &= !state.keys.is_empty();
        metrics::unwanted_objects(state.waiting());
    }

    /// So many of the first ones have their turn again when all others had theirs: one that cannot be deleted holds up none.
    fn not_deleted(&self, keys: usize) {
        self.state().keys.rotate_left(keys);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deletes what waits for it.
pub(super) struct Remover {
    pub objects: Objects,
}

impl Remover {
    pub async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            never = self.remove() => match never {},
        }
    }

    async fn remove(&self) -> Infallible {
        let unwanted = self.objects.unwanted();
        let mut pauses = self.pauses();
        loop {
            let batch = unwanted.first().await;
            let keys = batch.len();
            match self.objects.delete(batch).await {
                Ok(()) => {
                    unwanted.deleted(keys);
                    pauses = self.pauses();
                }
                Err(error) => {
                    tracing::warn!(keys, %error, "objects that nobody wants are not deleted yet");
                    unwanted.not_deleted(keys);
                    tokio::time::sleep(pauses.one_more()).await;
                }
            }
        }
    }

    fn pauses(&self) -> Backoff {
        Backoff::new(self.objects.timeout() / PAUSE_PART, self.objects.timeout())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn what_could_not_be_deleted_has_its_turn_again_after_the_others() {
        let unwanted = Unwanted::default();
        unwanted.add((0..=BATCH_KEYS).map(|key| key.to_string()));
        let first = unwanted.first().await;
        assert_eq!(first.len(), BATCH_KEYS);
        unwanted.not_deleted(first.len());
        assert_eq!(unwanted.first().await[..2], keys(&["1000", "0"]));
    }

    #[tokio::test]
    async fn what_is_too_many_is_left_and_what_comes_later_is_not() {
        let unwanted = Unwanted { keys_max: 2, ..Unwanted::default() };
        unwanted.add(keys(&["a", "b", "c"]));
        unwanted.add(keys(&["d"]));
        assert_eq!(unwanted.first().await, keys(&["a", "b"]));
        unwanted.deleted(2);
        unwanted.add(keys(&["e"]));
        assert_eq!(unwanted.first().await, keys(&["e"]));
    }

    // Invariant 28: what an upload that failed makes after the first deletion stays no longer than to the second.
    #[tokio::test(start_paused = true)]
    async fn what_may_come_into_being_yet_is_deleted_twice() {
        let (unwanted, due) = (Unwanted::default(), Instant::now() + Duration::from_secs(60));
        unwanted.add_twice("a".to_owned(), due);
        assert_eq!(unwanted.first().await, keys(&["a"]));
        unwanted.deleted(1);
        assert_eq!(unwanted.first().await, keys(&["a"]));
        assert!(Instant::now() >= due);
        unwanted.deleted(1);
        assert!(unwanted.first().now_or_never().is_none());
    }
}
