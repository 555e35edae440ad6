//! Reads one epoch of a partition: from one copy, or when that fails from the beginning of the other (invariant 19).

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use penstock_protocol::{
    effort::FetchEffort,
    ids::{ShuffleId, TaskIndex, WorkerId},
    shuffle::Location,
};

use tokio::time::Instant;

use super::{
    Fetchers,
    location::{Away, LocationReader},
    turns::{Failed, Turn, Turns},
};
use crate::{error::FetchError, metrics};

pub(super) struct EpochReader {
    fetchers: Arc<Fetchers>,
    shuffle: ShuffleId,
    maps: Option<Range<TaskIndex>>,
    /// A copy of which nobody knows whether it is committed.
    unanswered: Option<Location>,
    reader: LocationReader,
    turns: Turns,
    /// Before the next turn.
    wait: Option<Duration>,
    standstill: Standstill,
    /// The last one of each copy.
    failures: BTreeMap<WorkerId, FetchError>,
    effort: Arc<FetchEffort>,
}

/// Since when nothing new was read. Bytes that came before, from any copy, are nothing new: reading them again and again
/// must end.
#[derive(Debug, Default)]
struct Standstill {
    /// The most bytes that were read of one copy.
    furthest: u64,
    since: Option<Instant>,
}

impl Standstill {
    fn read_up_to(&mut self, offset: u64) {
        if offset > self.furthest {
            *self = Self { furthest: offset, since: None };
        }
    }

    /// A copy has been away since then; the first one counts.
    fn since(&mut self, away_since: Instant) -> Instant {
        *self.since.get_or_insert(away_since)
    }
}

impl EpochReader {
    pub fn new(
        fetchers: Arc<Fetchers>,
        shuffle: ShuffleId,
        location: &Location,
        maps: Option<Range<TaskIndex>>,
        effort: Arc<FetchEffort>,
    ) -> Self {
        let mut copies: Vec<_> = location.copies().collect();
        let unanswered = if location.replica_unanswered { copies.pop() } else { None };
        copies.sort_by_key(|copy| fetchers.suspects.has(&copy.worker));
        let turns = Turns::new(copies, unanswered.as_ref(), &fetchers.options);
        let Turn { copy, persistence, .. } = turns.current().clone();
        let (own, counted) = (Arc::clone(&fetchers), Arc::clone(&effort));
        let reader = LocationReader::new(own, shuffle, copy, maps.clone(), persistence, counted);
        Self {
            fetchers,
            shuffle,
            maps,
            unanswered,
            reader,
            turns,
            wait: None,
            standstill: Standstill::default(),
            failures: BTreeMap::new(),
            effort,
        }
    }

    /// The copy that is read now.
    pub fn location(&self) -> &Location {
        self.reader.location()
    }

    /// The next whole batches; none after the last. After a failover those of the beginning come again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if let Some(wait) = self.wait.take() {
                tokio::time::sleep(wait).await;
            }
            match self.reader.next().await {
                Err(error) => self.fail_over(error)?,
                batches => return batches,
            }
        }
    }

    /// Goes to the next turn, which is at the beginning of another copy if there is one; an error if none is left.
    pub fn fail_over(&mut self, error: FetchError) -> Result<(), FetchError> {
        let failed = self.failed(&error);
        let copy = self.reader.location();
        // What was never promised decides nothing.
        if self.unanswered.as_ref() != Some(copy) {
            self.failures.insert(copy.worker.worker.clone(), error);
        }
        if !self.turns.go_on(failed) {
            return Err(self.failure());
        }
        let Turn { copy, wait, persistence, .. } = self.turns.current().clone();
        self.wait = (!wait.is_zero()).then_some(wait);
        if copy == *self.reader.location() {
            metrics::reopened_stream();
            self.effort.streams_reopened.add(1);
            self.reader.persist(persistence);
            return Ok(());
        }
        metrics::failed_over();
        self.effort.read_failovers.add(1);
        tracing::debug!(worker = %copy.worker.worker, partition = %copy.partition, "reading from another copy");
        let (fetchers, effort) = (Arc::clone(&self.fetchers), Arc::clone(&self.effort));
        self.reader =
            LocationReader::new(fetchers, self.shuffle, copy, self.maps.clone(), persistence, effort);
        Ok(())
    }

    fn failed(&mut self, error: &FetchError) -> Failed {
        self.standstill.read_up_to(self.reader.offset());
        match (error, self.reader.away()) {
            (FetchError::Lost { .. }, _) => Failed::Lost,
            (FetchError::Unavailable { .. }, None) => Failed::Refused,
            (FetchError::Unavailable { .. }, Some(Away { since, who })) => {
                Failed::Away(who, self.standstill.since(since).elapsed())
            }
        }
    }

    /// Lost if every copy is.
    fn failure(&self) -> FetchError {
        let mut reasons: Vec<_> = self.failures.values().map(FetchError::reason).collect();
        reasons.dedup();
        let (shuffle, reason) = (self.shuffle, reasons.join("; "));
        match self.failures.values().all(|failure| matches!(failure, FetchError::Lost { .. })) {
            true => FetchError::Lost { shuffle, reason },
            false => FetchError::Unavailable { shuffle, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{io, sync::Mutex};

    use penstock_common::{
        lifecycle::Tasks,
        net::{Listener, Network, Stream},
    };
    use penstock_protocol::{
        ids::{Epoch, Incarnation, JobId, PartitionIndex, StageId},
        shuffle::WorkerAddress,
    };
    use uuid::Uuid;

    use super::*;
    use crate::options::ClientOptions;

    /// On which no worker is up.
    #[derive(Debug, Default)]
    struct AllAreAway {
        /// Who was called.
        calls: Mutex<Vec<String>>,
    }

    #[async_trait::async_trait]
    impl Network for AllAreAway {
        async fn connect(&self, addr: &str) -> io::Result<Stream> {
            self.calls.lock().unwrap().push(addr.to_owned());
            Err(io::ErrorKind::ConnectionRefused.into())
        }

        async fn bind(&self, _addr: &str) -> io::Result<Box<dyn Listener>> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn on(workers: &[&str]) -> Location {
        let worker = |name: &&str| {
            let (control, data) = (String::new(), (*name).to_owned());
            Arc::new(WorkerAddress { worker: (*name).into(), incarnation: Incarnation(1), control, data })
        };
        let first = Location::on(PartitionIndex(0), Epoch(0), worker(&workers[0]));
        Location { replica: workers.get(1).map(worker), ..first }
    }

    /// How long a read from these workers takes to fail, and whom it called.
    async fn failed_read(workers: &[&str]) -> (Duration, String) {
        let (network, tasks, tokens) = (Arc::<AllAreAway>::default(), Tasks::new("client"), Arc::default());
        let options = ClientOptions { absence_ms: 10_000, ..ClientOptions::default() };
        let own = Arc::clone(&network) as Arc<dyn Network>;
        let fetchers = Arc::new(Fetchers::new(own, options, tasks.clone(), tokens));
        let shuffle = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(0), run: 0 };
        let started = Instant::now();
        let mut reader = EpochReader::new(fetchers, shuffle, &on(workers), None, Arc::default());
        let error = reader.next().await.unwrap_err();
        assert!(matches!(error, FetchError::Unavailable { .. }), "{error}");
        for worker in workers {
            let named = format!("worker {worker}: ");
            assert_eq!(error.to_string().matches(&named).count(), 1, "{error}");
        }
        let took = started.elapsed();
        tasks.stop(Duration::from_secs(1)).await.unwrap();
        let calls = network.calls.lock().unwrap().concat();
        (took, calls)
    }

    #[test]
    fn only_bytes_that_are_new_end_a_standstill() {
        let (mut standstill, start) = (Standstill::default(), Instant::now());
        let later = start + Duration::from_secs(5);
        assert_eq!((standstill.since(start), standstill.since(later)), (start, start));
        standstill.read_up_to(10);
        assert_eq!(standstill.since(later), later);
        standstill.read_up_to(10);
        assert_eq!(standstill.since(later + Duration::from_secs(5)), later);
    }

    #[tokio::test(start_paused = true)]
    async fn workers_that_are_away_are_tried_for_as_long_as_one_may_be_absent() {
        for workers in [&["a"][..], &["a", "b"]] {
            let (took, calls) = failed_read(workers).await;
            // And the last wait, which began before that.
            let bounds = Duration::from_secs(10)..=Duration::from_secs(12);
            assert!(bounds.contains(&took), "{workers:?}: {took:?}");
            let last = calls[calls.len() - 4..].to_owned();
            assert!(
                if workers.len() == 1 { last == "aaaa" } else { last == "abab" || last == "baba" },
                "{calls}"
            );
        }
    }
}
