//! What one attempt still waits for, and what came back to it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use penstock_protocol::{
    effort::PushEffort,
    frame::{Batch, Refusal},
    ids::{Epoch, PartitionIndex, ShuffleId},
};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::window::Flight;
use crate::error::PushError;

/// Counts the frames of one attempt that are in flight; keeps its first error and the batches that were not taken.
#[derive(Debug)]
pub(crate) struct Progress {
    shuffle: ShuffleId,
    pub effort: Arc<PushEffort>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    in_flight: usize,
    error: Option<PushError>,
    news: News,
}

/// What the writer has to deal with before it goes on.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Batches that are not surely on every copy of their epoch.
    pub returned: Vec<Returned>,
    /// Epochs that should end soon.
    pub ending: BTreeMap<PartitionIndex, Epoch>,
}

/// A batch with its bytes and ids as they were sent: they never change (invariant 7).
#[derive(Debug, Clone)]
pub(crate) struct Returned {
    pub partition: PartitionIndex,
    pub epoch: Epoch,
    pub batch: Batch,
    pub why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// Not accepted on every copy.
    Refused(Refusal),
    /// Nobody knows what became of it.
    Unreachable { refusal: Option<Refusal>, silent: bool, reason: String },
    /// Held back because an earlier batch of the attempt came back: nothing may overtake that.
    HeldBack,
}

impl Why {
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { silent: true, .. })
    }
}

impl News {
    pub fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.ending.is_empty()
    }
}

impl Progress {
    pub fn new(shuffle: ShuffleId) -> Self {
        Self { shuffle, effort: Arc::default(), state: Mutex::default(), changed: Notify::new() }
    }

    /// Whether there is something to deal with; an error if the attempt is lost.
    pub fn has_news(&self) -> Result<bool, PushError> {
        let state = self.state();
        match &state.error {
            Some(error) => Err(error.clone()),
            None => Ok(!state.news.is_empty()),
        }
    }

    /// Waits until nothing is in flight, or until something failed (invariant 10), and hands out the news.
    pub async fn settled(&self) -> Result<News, PushError> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                match &state.error {
                    Some(error) => return Err(error.clone()),
                    None if state.in_flight == 0 => return Ok(std::mem::take(&mut state.news)),
                    None => {}
                }
            }
            changed.await;
        }
    }

    fn end_one(&self, outcome: Result<News, PushError>) {
        let mut state = self.state();
        state.in_flight -= 1;
        match outcome {
            Ok(news) => {
                state.news.returned.extend(news.returned);
                state.news.ending.extend(news.ending);
            }
            Err(error) => {
                state.error.get_or_insert(error);
            }
        }
        let settled = state.in_flight == 0 || state.error.is_some();
        drop(state);
        if settled {
            self.changed.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One frame in flight: gives its window permits back and tells the attempt when it ends, however it ends.
#[derive(Debug)]
pub(crate) struct Ticket {
    progress: Arc<Progress>,
    outcome: Option<Result<News, PushError>>,
    flight: Flight,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Ticket {
    pub fn new(progress: Arc<Progress>, flight: Flight, permits: [OwnedSemaphorePermit; 2]) -> Self {
        progress.state().in_flight += 1;
        Self { progress, outcome: None, flight, _permits: permits }
    }

    /// All of it was taken.
    pub fn accepted(mut self) {
        self.taken();
        self.ended(News::default());
    }

    /// The worker could take even more at a time.
    pub fn taken(&mut self) {
        self.flight.taken();
    }

    /// The worker asks to be sent less at a time.
    pub fn congested(&mut self) {
        self.flight.congested();
    }

    /// Some of it came back, or some of its epochs end.
    pub fn ended(mut self, news: News) {
        self.outcome = Some(Ok(news));
    }

    /// Whether an earlier batch of the attempt came back, so that this frame must not overtake it.
    pub fn must_wait(&self) -> bool {
        !self.progress.state().news.returned.is_empty()
    }

    /// The frame is sent once more.
    pub fn resent(&self) {
        self.progress.effort.pushes_resent.add(1);
    }

    /// The frame was never queued.
    pub fn withdraw(self) {
        self.ended(News::default());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| {
            let reason = "the connection was given up before the answer came".to_owned();
            Err(PushError::Unavailable { shuffle: self.progress.shuffle, reason })
        });
        self.progress.end_one(outcome);
    }
}
