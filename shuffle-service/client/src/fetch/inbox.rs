//! Where a connection leaves what came for one stream. Bounded by the credit that the stream gave.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use penstock_common::net::ProcessId;
use penstock_protocol::frame::{Loan, Refusal};
use tokio::sync::Notify;

use crate::connect::Broken;

/// What can come for a stream.
#[derive(Debug)]
pub(super) enum Event {
    /// Whole batches.
    Data(Bytes),
    /// The same in a file, and the process that holds it open.
    Loan(Loan, Option<ProcessId>),
    /// Everything was sent.
    End,
    /// The worker does not send it.
    Refused(Refusal, String),
    /// The connection is gone.
    Broken(Broken),
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    events: Mutex<VecDeque<Event>>,
    arrived: Notify,
}

impl Inbox {
    pub fn put(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
        self.arrived.notify_one();
    }

    /// The next event. For one taker only.
    pub async fn take(&self) -> Event {
        loop {
            let arrived = self.arrived.notified();
            if let Some(event) = self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return event;
            }
            arrived.await;
        }
    }
}
