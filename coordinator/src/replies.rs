//! Clients' calls that wait for the core's answer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

use crate::{
    effect::{Accepted, CancelError, SubmitError},
    event::RequestId,
    job::JobStatus,
};

pub type SubmitAnswer = Result<Accepted, SubmitError>;
pub type CancelAnswer = Result<Arc<JobStatus>, CancelError>;

#[derive(Debug, Default)]
pub struct Replies {
    next: AtomicU64,
    submits: Waiting<SubmitAnswer>,
    cancels: Waiting<CancelAnswer>,
}

#[derive(Debug)]
struct Waiting<T>(Mutex<HashMap<RequestId, oneshot::Sender<T>>>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Waiting<T> {
    fn expect(&self, request: RequestId) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Callers that hung up are dropped here, so that the map holds open calls only.
        waiting.retain(|_, sender| !sender.is_closed());
        waiting.insert(request, sender);
        receiver
    }

    fn answer(&self, request: RequestId, answer: T) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
        if let Some(sender) = sender {
            // The caller hung up: it asks again.
            let _ = sender.send(answer);
        }
    }
}

impl Replies {
    pub fn expect_submit(&self) -> (RequestId, oneshot::Receiver<SubmitAnswer>) {
        let request = self.fresh();
        (request, self.submits.expect(request))
    }

    pub fn expect_cancel(&self) -> (RequestId, oneshot::Receiver<CancelAnswer>) {
        let request = self.fresh();
        (request, self.cancels.expect(request))
    }

    pub fn answer_submit(&self, request: RequestId, answer: SubmitAnswer) {
        self.submits.answer(request, answer);
    }

    pub fn answer_cancel(&self, request: RequestId, answer: CancelAnswer) {
        self.cancels.answer(request, answer);
    }

    fn fresh(&self) -> RequestId {
        RequestId(self.next.fetch_add(1, Ordering::Relaxed))
    }
}
