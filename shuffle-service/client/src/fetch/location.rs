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
    turns::{Persistence, Who},
    window::Window,
};
use crate::{connect::Broken, error::FetchError, metrics};

const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(2);
/// Longer than a worker tries to read from its object store unless it is told to try very long: it has forgotten the stream.
const OVERDUE: Duration = Duration::from_secs(600);

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
    away: Option<Away>,
    effort: Arc<FetchEffort>,
}

/// Who is not there, and may come back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away {
    pub since: Instant,
    pub who: Who,
}

struct Opened {
    connection: Arc<Connection>,
    stream: u32,
    inbox: Arc<Inbox>,
    window: Window,
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
        let (share, waits) = (fetchers.shares.take(), waits(&location).tries(persistence.tries));
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
            away: None,
            effort,
        }
    }

    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Bytes received so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Set if it failed because of what may come back.
    pub fn away(&self) -> Option<Away> {
        self.away
    }

    /// Has it tried again where it is.
    pub fn persist(&mut self, persistence: Persistence) {
        self.persistence = persistence;
        self.waits = waits(&self.location).tries(persistence.tries);
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
                    self.away = None;
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
        // A worker shows that it is alive while it reads, which may take long.
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
            () = tokio::time::sleep(OVERDUE) => Event::Broken(Broken::because("the worker sends other streams and not this one")),
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
        self.waits = waits(&self.location).tries(self.persistence.tries);
        self.away = None;
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

    async fn wait_to_reopen(&mut self, broken: Broken) -> Result<(), FetchError> {
        let is_silent =
            broken.silence.is_some() && self.persistence.patience < self.fetchers.options.answer_timeout();
        if is_silent {
            self.fetchers.suspects.add(&self.location.worker);
        }
        let may_come_back = !broken.is_final();
        // A worker says that its store is away when it has tried for long, and it is this reader's turn to ask elsewhere.
        let is_store_away = broken.refusal == Some(Refusal::StoreAway);
        self.away = may_come_back.then(|| Away {
            since: self.away.map_or_else(Instant::now, |away| away.since),
            who: if is_store_away { Who::Store } else { Who::Worker },
        });
        let wait = if may_come_back && !is_silent && !is_store_away { self.waits.next() } else { None };
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

pub(super) fn waits(location: &Location) -> Backoff {
    let seed = location.worker.incarnation.0 ^ u64::from(location.partition.0);
    Backoff::new(BACKOFF_BASE, BACKOFF_CAP).with_seed(seed)
}

impl Drop for LocationReader {
    fn drop(&mut self) {
        self.leave();
    }
}
