//! Deletes from the object store what nobody wants any more: what was released, what was copied for nothing, and what may have
//! come of an upload that failed.
//!
//! In: keys, from whoever gives up the last use of them and does not wait. A store that is away loses none: what could not be
//! deleted is tried again. No key is ever used again, so a deletion may come as late as it likes; an upload that takes
//! effect after it, which its store had answered with an error, stays until the next life. Not here: what former lives
//! left, which nobody of this one knows the keys of.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
};

use penstock_common::{lifecycle::CancellationToken, retry::Backoff};
use tokio::sync::Notify;

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
    /// More came than may wait, since none waited last.
    has_overflowed: bool,
}

impl Default for Unwanted {
    fn default() -> Self {
        Self { keys_max: KEYS_MAX, state: Mutex::default(), added: Notify::new() }
    }
}

impl Unwanted {
    pub fn add(&self, keys: impl IntoIterator<Item = String>) {
        let (abandoned, is_news) = {
            let mut state = self.state();
            let mut keys = keys.into_iter();
            let room = self.keys_max - state.keys.len();
            state.keys.extend(keys.by_ref().take(room));
            metrics::unwanted_objects(state.keys.len());
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
            let first: Vec<_> = self.state().keys.iter().take(BATCH_KEYS).cloned().collect();
            if !first.is_empty() {
                return first;
            }
            self.added.notified().await;
        }
    }

    /// So many of the first ones are gone.
    fn deleted(&self, keys: usize) {
        let mut state = self.state();
        state.keys.drain(..keys);
        state.has_overflowed &= !state.keys.is_empty();
        metrics::unwanted_objects(state.keys.len());
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
}
