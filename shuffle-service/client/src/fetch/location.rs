//! Reads one copy of a location from its first batch to its last, over as many connections as it takes.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use penstock_common::{net::ProcessId, retry::Backoff};
use penstock_protocol::{
    effort::FetchEffort,
    frame::{Loan, Open, Refusal},
    ids::{ShuffleId, TaskIndex},
    shuffle::Location,
};
use tokio::time::Instant;

use super::{
    Fetchers,
    connection::Connection,
    inbox::{Event, Inbox},
    loan::{LoanError, LoanReader},
    share::Share,
};
use crate::{connect::Broken, error::FetchError, metrics};

const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(2);

/// How much is done to read one copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Persistence {
    /// Tries to reach the worker in a row.
    pub tries: u32,
    /// How long it may say nothing at all.
    pub patience: Duration,
    /// How long it is tried again at least, however few tries there are.
    pub absence: Duration,
    /// The same, while it is there and its object store is not.
    pub outage: Duration,
}

pub(super) struct LocationReader {
    fetchers: Arc<Fetchers>,
    shuffle: ShuffleId,
    location: Location,
    /// Only their batches are wanted; all if not set.
    maps: Option<Range<TaskIndex>>,
    /// Bytes received so far: always the end of a batch.
    offset: u64,
    persistence: Persistence,
    opened: Option<Opened>,
    /// Of what the worker may send.
    share: Share,
    /// What is read before anything else that comes.
    loan: Option<LoanReader>,
    waits: Backoff,
    /// When the first of the failures since then came.
    failing_since: Option<Instant>,
    effort: Arc<FetchEffort>,
}

struct Opened {
    connection: Arc<Connection>,
    stream: u32,
    inbox: Arc<Inbox>,
    window: Window,
}

/// What the worker may have on its way to one stream.
struct Window {
    /// Credit given minus bytes that were consumed and told; a batch larger than the credit overdraws it.
    open: i64,
    /// Consumed bytes that the worker has not been told of.
    consumed: i64,
}

impl Window {
    fn new(credit: u32) -> Self {
        Self { open: credit.into(), consumed: 0 }
    }

    /// Counts consumed bytes and returns the credit to give, once it is worth a frame. With more streams than before the
    /// share is smaller, and less is given back than was used.
    fn consume(&mut self, bytes: usize, share: u32) -> u32 {
        self.consumed += i64::try_from(bytes).expect("frames are small");
        if self.consumed < self.open / 2 {
            return 0;
        }
        self.open -= std::mem::take(&mut self.consumed);
        let grant = u32::try_from(i64::from(share) - self.open).unwrap_or(0);
        self.open += i64::from(grant);
        grant
    }
}

impl LocationReader {
    pub fn new(
        fetchers: Arc<Fetchers>,
        shuffle: ShuffleId,
        location: Location,
        maps: Option<Range<TaskIndex>>,
        persistence: Persistence,
        effort: Arc<FetchEffort>,
    ) -> Self {
        let (share, waits) = (fetchers.shares.take(), waits(&location, persistence));
        Self {
            fetchers,
            shuffle,
            location,
            maps,
            offset: 0,
            persistence,
            opened: None,
            share,
            loan: None,
            waits,
            failing_since: None,
            effort,
        }
    }

    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The next whole batches; none after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if let Some(batches) = self.next_borrowed().await {
                return Ok(Some(batches));
            }
            let broken = match self.event().await {
                Event::Data(batches) => {
                    self.consumed(batches.len());
                    return Ok(Some(batches));
                }
                Event::Loan(loan, worker) => {
                    self.borrow(loan, worker).await;
                    continue;
                }
                Event::End => return Ok(None),
                // The worker has tried for a while, and is to try again.
                Event::Refused(refusal @ Refusal::StoreAway, reason) => {
                    Broken { refusal: Some(refusal), silence: None, reason }
                }
                Event::Refused(refusal, message) => {
                    let worker = self.location.worker.worker.as_str();
                    return Err(FetchError::refused(self.shuffle, refusal, &message, worker));
                }
                Event::Broken(broken) => broken,
            };
            self.leave();
            self.wait_to_reopen(broken).await?;
        }
    }

    async fn event(&mut self) -> Event {
        let answer_timeout = self.fetchers.options.answer_timeout();
        if self.opened.is_none() {
            self.open();
        }
        let Some(opened) = &self.opened else { return Event::Broken(Broken::because("connection closed")) };
        // Not how long this stream has to wait: a worker shows that it is alive while it reads.
        let shortest = self.fetchers.options.silence(0);
        let silent = opened.connection.heard.nothing_for(self.persistence.patience, shortest);
        tokio::select! {
            biased;
            event = opened.inbox.take() => event,
            () = silent => {
                // Others may have more patience, and go on waiting.
                if self.persistence.patience >= answer_timeout {
                    opened.connection.cut();
                }
                Event::Broken(Broken::silent(self.persistence.patience))
            }
        }
    }

    fn open(&mut self) {
        let connection = self.fetchers.connection(&self.location.worker);
        let credit = self.share.credit();
        let open = Open {
            stream: 0,
            incarnation: self.location.worker.incarnation,
            shuffle: self.shuffle,
            token: self.fetchers.tokens.of(self.shuffle.job),
            partition: self.location.partition,
            epoch: self.location.epoch,
            offset: self.offset,
            credit,
            borrows: self.fetchers.may_borrow(),
            maps: self.maps.clone(),
        };
        let opened = connection.open(open);
        self.opened =
            opened.map(|(stream, inbox)| Opened { connection, stream, inbox, window: Window::new(credit) });
    }

    fn leave(&mut self) {
        if let Some(opened) = self.opened.take() {
            opened.connection.close(opened.stream);
        }
    }

    async fn borrow(&mut self, loan: Loan, process: Option<ProcessId>) {
        let patience = self.fetchers.options.answer_timeout();
        match LoanReader::open(process, loan, self.fetchers.shares.take(), patience).await {
            Ok(reader) => {
                self.loan = Some(reader);
                if let Some(opened) = &self.opened {
                    opened.connection.loan_taken(opened.stream);
                }
            }
            Err(error) => self.decline_loans(&error),
        }
    }

    /// The next whole batches of a loan; none if there is no loan or it is of no use any more.
    async fn next_borrowed(&mut self) -> Option<Bytes> {
        match self.loan.as_mut()?.next().await {
            Ok(Some(batches)) => {
                metrics::borrowed(batches.len());
                self.advance(batches.len());
                return Some(batches);
            }
            Ok(None) => {}
            Err(error) => self.decline_loans(&error),
        }
        self.loan = None;
        None
    }

    /// The stream is opened again where it is, and the worker meets whatever the trouble was: it knows what to do about it.
    fn decline_loans(&mut self, error: &LoanError) {
        metrics::loan_failed();
        let worker = &self.location.worker.worker;
        tracing::debug!(%worker, error = error as &dyn std::error::Error, "a lent file is of no use");
        if let Some(opened) = self.opened.take() {
            opened.connection.borrow_nothing();
            opened.connection.close(opened.stream);
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.offset += bytes as u64;
        self.waits = waits(&self.location, self.persistence);
        self.failing_since = None;
    }

    fn consumed(&mut self, bytes: usize) {
        self.advance(bytes);
        let share = self.share.credit();
        let Some(opened) = &mut self.opened else { return };
        let grant = opened.window.consume(bytes, share);
        if grant > 0 {
            opened.connection.add_credit(opened.stream, grant);
        }
    }

    /// None once the tries are used up and the worker, or its object store, was away for as long as it may be.
    fn next_wait(&mut self, broken: &Broken) -> Option<Duration> {
        let failing_for = self.failing_since.get_or_insert_with(Instant::now).elapsed();
        let Persistence { absence, outage, .. } = self.persistence;
        let is_store_away = broken.refusal == Some(Refusal::StoreAway);
        let may_come_back = failing_for < if is_store_away { outage } else { absence };
        self.waits.next().or_else(|| may_come_back.then(|| self.waits.one_more()))
    }

    async fn wait_to_reopen(&mut self, broken: Broken) -> Result<(), FetchError> {
        let is_silent =
            broken.silence.is_some() && self.persistence.patience < self.fetchers.options.answer_timeout();
        if is_silent {
            self.fetchers.suspects.add(&self.location.worker);
        }
        let wait = if broken.is_final() || is_silent { None } else { self.next_wait(&broken) };
        let worker = self.location.worker.worker.as_str();
        let Some(wait) = wait else {
            return Err(match broken.refusal {
                Some(refusal) => FetchError::refused(self.shuffle, refusal, &broken.reason, worker),
                None => FetchError::Unavailable {
                    shuffle: self.shuffle,
                    reason: format!("worker {worker}: {}", broken.reason),
                },
            });
        };
        metrics::reopened_stream();
        self.effort.streams_reopened.add(1);
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

fn waits(location: &Location, persistence: Persistence) -> Backoff {
    let seed = location.worker.incarnation.0 ^ u64::from(location.partition.0);
    Backoff::new(BACKOFF_BASE, BACKOFF_CAP).with_seed(seed).tries(persistence.tries)
}

impl Drop for LocationReader {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worker's side: sends while it has credit, whole batches of one size.
    fn all_arrive(batch: usize, share: impl Fn(usize) -> u32) {
        let mut window = Window::new(share(0));
        let mut credit = i64::from(share(0));
        for sent in 0..1000 {
            assert!(credit > 0, "stalled after {sent} batches of {batch} bytes");
            credit -= batch as i64;
            credit += i64::from(window.consume(batch, share(sent)));
        }
    }

    #[test]
    fn credit_never_dries_up_whatever_the_size_of_batches_and_shares() {
        for batch in [1, 100, 999, 1000, 1001, 5000, 1_000_000] {
            all_arrive(batch, |_| 1000);
            all_arrive(batch, |sent| if sent % 100 < 50 { 1000 } else { 7000 });
        }
    }

    #[test]
    fn a_smaller_share_is_reached_by_giving_less_back() {
        let mut window = Window::new(1000);
        assert_eq!(window.consume(400, 500), 0);
        assert_eq!(window.consume(200, 500), 100);
        assert_eq!(window.open, 500);
    }
}
