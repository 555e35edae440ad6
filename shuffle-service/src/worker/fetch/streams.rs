//! The streams of a connection: those that may send take turns, the others wait for credit.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use penstock_protocol::frame::{Credit, Refusal};
use tokio::sync::{Notify, oneshot};

use super::stream::OutgoingStream;
use crate::worker::connection::Ended;

const STREAMS_MAX: usize = 100_000;

#[derive(Default)]
pub(super) struct Streams {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    streams: VecDeque<OutgoingStream>,
    /// Those that are read for.
    in_hand: BTreeMap<u32, InHand>,
}

/// What came for a stream while it was read for.
struct InHand {
    credit: i64,
    /// Dropped when the stream is closed.
    _open: oneshot::Sender<()>,
}

impl Streams {
    pub fn open(&self, stream: OutgoingStream) -> Result<(), Ended> {
        let mut state = self.state();
        if state.streams.len() + state.in_hand.len() >= STREAMS_MAX {
            return Err(Ended::Fault(Refusal::NoRoom, format!("more than {STREAMS_MAX} streams")));
        }
        state.streams.push_back(stream);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    pub fn credit(&self, Credit { stream: number, bytes }: Credit) {
        let mut state = self.state();
        if let Some(in_hand) = state.in_hand.get_mut(&number) {
            in_hand.credit = in_hand.credit.saturating_add(bytes.into());
        } else if let Some(stream) = state.streams.iter_mut().find(|stream| stream.number == number) {
            stream.add_credit(bytes.into());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The stream is not read for while a loan of it is outside.
    pub fn loan_taken(&self, number: u32) {
        let mut state = self.state();
        if let Some(stream) = state.streams.iter_mut().find(|stream| stream.number == number) {
            stream.loan_taken();
        }
        drop(state);
        self.changed.notify_one();
    }

    pub fn close(&self, number: u32) {
        let mut state = self.state();
        if state.in_hand.remove(&number).is_none() {
            state.streams.retain(|stream| stream.number != number);
        }
    }

    /// The next stream that may send, to be read for, and what ends when it is closed.
    pub fn take(&self) -> Option<(OutgoingStream, oneshot::Receiver<()>)> {
        let mut state = self.state();
        let position = state.streams.iter().position(OutgoingStream::may_send)?;
        let stream = state.streams.remove(position)?;
        let (open, closed) = oneshot::channel();
        state.in_hand.insert(stream.number, InHand { credit: 0, _open: open });
        Some((stream, closed))
    }

    /// Puts a stream behind the others, unless it was closed.
    pub fn put_back(&self, mut stream: OutgoingStream) {
        let mut state = self.state();
        if let Some(in_hand) = state.in_hand.remove(&stream.number) {
            stream.add_credit(in_hand.credit);
            state.streams.push_back(stream);
        }
    }

    /// Everything of a stream was sent.
    pub fn forget(&self, number: u32) {
        self.state().in_hand.remove(&number);
    }

    pub fn are_empty(&self) -> bool {
        let state = self.state();
        state.streams.is_empty() && state.in_hand.is_empty()
    }

    /// Returns when another stream may be able to send. For one who waits.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
