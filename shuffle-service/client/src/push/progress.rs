//! What one attempt still waits for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use penstock_protocol::ids::ShuffleId;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::error::PushError;

/// Counts the frames of one attempt that are in flight and keeps its first error.
#[derive(Debug)]
pub(crate) struct Progress {
    shuffle: ShuffleId,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    in_flight: usize,
    error: Option<PushError>,
}

impl Progress {
    pub fn new(shuffle: ShuffleId) -> Self {
        Self { shuffle, state: Mutex::default(), changed: Notify::new() }
    }

    /// The attempt's first error, if it has one.
    pub fn check(&self) -> Result<(), PushError> {
        self.state().error.clone().map_or(Ok(()), Err)
    }

    /// Waits until nothing is in flight, or until something failed (invariant 10).
    pub async fn settled(&self) -> Result<(), PushError> {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.state();
                match &state.error {
                    Some(error) => return Err(error.clone()),
                    None if state.in_flight == 0 => return Ok(()),
                    None => {}
                }
            }
            changed.await;
        }
    }

    fn end_one(&self, outcome: Result<(), PushError>) {
        let mut state = self.state();
        state.in_flight -= 1;
        if let Err(error) = outcome {
            state.error.get_or_insert(error);
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
    outcome: Option<Result<(), PushError>>,
    _permits: [OwnedSemaphorePermit; 3],
}

impl Ticket {
    pub fn new(progress: Arc<Progress>, permits: [OwnedSemaphorePermit; 3]) -> Self {
        progress.state().in_flight += 1;
        Self { progress, outcome: None, _permits: permits }
    }

    pub fn accepted(mut self) {
        self.outcome = Some(Ok(()));
    }

    pub fn failed(mut self, error: PushError) {
        self.outcome = Some(Err(error));
    }

    /// The frame was never queued.
    pub fn withdraw(mut self) {
        self.outcome = Some(Ok(()));
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
