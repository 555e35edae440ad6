//! Questions for new epochs of shuffles, which go over the stream to the coordinator.
//!
//! In: questions of writers. Out: messages for the stream, each again on the next stream until it is answered. A writer
//! that goes away takes its question with it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt, future::BoxFuture};
use penstock_protocol::{
    shuffle::{Location, ShuffleTarget},
    wire::executor::EpochsRequest,
};
use penstock_shuffle_client::{NotRevived, ReviveRequest, Reviver};
use tokio::sync::{Notify, oneshot};

type Outcome = Result<Vec<Location>, NotRevived>;

/// The questions of one executor.
#[derive(Debug, Default)]
pub struct Epochs {
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    questions: BTreeMap<u64, Question>,
}

#[derive(Debug)]
struct Question {
    request: EpochsRequest,
    is_sent: bool,
    answer: oneshot::Sender<Outcome>,
}

impl Epochs {
    /// The next question that this stream has not carried. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&self) -> EpochsRequest {
        loop {
            let asked = self.asked.notified();
            if let Some(question) = self.state().questions.values_mut().find(|question| !question.is_sent) {
                question.is_sent = true;
                return question.request.clone();
            }
            asked.await;
        }
    }

    /// A new stream begins: what has no answer is asked again.
    pub(crate) fn ask_again(&self) {
        self.state().questions.values_mut().for_each(|question| question.is_sent = false);
    }

    /// Gives an answer to who asked; one that nobody waits for is dropped.
    pub(crate) fn answer(&self, request: u64, outcome: Result<ShuffleTarget, String>) {
        let Some(question) = self.state().questions.remove(&request) else { return };
        let outcome = outcome.map(|target| target.locations).map_err(|reason| NotRevived { reason });
        // Whoever asked may have gone this moment.
        let _ = question.answer.send(outcome);
    }

    fn ask(&self, request: ReviveRequest) -> (Asked<'_>, oneshot::Receiver<Outcome>) {
        let (answer, outcome) = oneshot::channel();
        let ReviveRequest { shuffle, ended, suspects } = request;
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let request = EpochsRequest { request: number, shuffle, ended, suspects };
        state.questions.insert(number, Question { request, is_sent: false, answer });
        drop(state);
        self.asked.notify_one();
        (Asked { epochs: self, number }, outcome)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the question back when its writer goes away.
struct Asked<'a> {
    epochs: &'a Epochs,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.epochs.state().questions.remove(&self.number);
    }
}

impl Reviver for Epochs {
    fn revive(&self, request: ReviveRequest) -> BoxFuture<'_, Outcome> {
        async move {
            let (_asked, outcome) = self.ask(request);
            let gone = || NotRevived { reason: "the executor is leaving".to_owned() };
            outcome.await.unwrap_or_else(|_| Err(gone()))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use penstock_protocol::ids::{JobId, ShuffleId, StageId};

    use super::*;

    fn question() -> ReviveRequest {
        let job: JobId = "01900000-0000-7000-8000-000000000001".parse().unwrap();
        let shuffle = ShuffleId { job, exchange: StageId(0), run: 0 };
        ReviveRequest { shuffle, ended: vec![], suspects: vec![] }
    }

    #[tokio::test]
    async fn a_question_is_asked_on_every_stream_until_it_is_answered() {
        let epochs = Epochs::default();
        let writer = epochs.revive(question());
        let stream = async {
            let first = epochs.next().await;
            assert!(epochs.next().now_or_never().is_none(), "once on a stream");
            epochs.ask_again();
            assert_eq!(epochs.next().await, first);
            epochs.answer(first.request + 1, Err("for somebody else".to_owned()));
            epochs.answer(first.request, Err("no worker".to_owned()));
            epochs.ask_again();
            assert!(epochs.next().now_or_never().is_none(), "it was answered");
        };
        let (outcome, ()) = tokio::join!(writer, stream);
        assert_eq!(outcome, Err(NotRevived { reason: "no worker".to_owned() }));
    }

    #[test]
    fn a_writer_that_goes_away_takes_its_question_with_it() {
        let epochs = Epochs::default();
        let mut writer = epochs.revive(question());
        assert!((&mut writer).now_or_never().is_none());
        drop(writer);
        assert!(epochs.next().now_or_never().is_none());
    }
}
