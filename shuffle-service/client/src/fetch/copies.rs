//! Reads one epoch of a partition: from one copy, or when that fails from the beginning of the other (invariant 19).

use std::{collections::VecDeque, ops::Range, sync::Arc};

use bytes::Bytes;
use penstock_protocol::{
    effort::FetchEffort,
    ids::{ShuffleId, TaskIndex},
    shuffle::Location,
};

use super::{Fetchers, location::LocationReader};
use crate::{error::FetchError, metrics};

pub(super) struct EpochReader {
    fetchers: Arc<Fetchers>,
    shuffle: ShuffleId,
    maps: Option<Range<TaskIndex>>,
    reader: LocationReader,
    /// What is tried next: each copy in a hurry first, then each with patience.
    next: VecDeque<(Location, u32)>,
    failures: Vec<FetchError>,
    effort: Arc<FetchEffort>,
}

impl EpochReader {
    pub fn new(
        fetchers: Arc<Fetchers>,
        shuffle: ShuffleId,
        location: &Location,
        maps: Option<Range<TaskIndex>>,
        effort: Arc<FetchEffort>,
    ) -> Self {
        let options = &fetchers.options;
        let (few, many) = (options.revive_after_tries.min(options.connect_tries), options.connect_tries);
        let in_a_hurry = location.copies().filter(|_| location.replica.is_some()).map(|copy| (copy, few));
        let mut next: VecDeque<_> = in_a_hurry.chain(location.copies().map(|copy| (copy, many))).collect();
        let (first, tries) = next.pop_front().expect("a location has a copy");
        let counted = Arc::clone(&effort);
        let reader = LocationReader::new(Arc::clone(&fetchers), shuffle, first, maps.clone(), tries, counted);
        Self { fetchers, shuffle, maps, reader, next, failures: Vec::new(), effort }
    }

    /// The copy that is read now.
    pub fn location(&self) -> &Location {
        self.reader.location()
    }

    /// The next whole batches; none after the last. After a failover those of the beginning come again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            match self.reader.next().await {
                Err(error) => self.fail_over(error)?,
                batches => return batches,
            }
        }
    }

    /// Goes to the beginning of another copy; an error if none is left. What is lost is not asked again.
    pub fn fail_over(&mut self, error: FetchError) -> Result<(), FetchError> {
        if matches!(error, FetchError::Lost { .. }) {
            let lost = self.reader.location().clone();
            self.next.retain(|(copy, _)| *copy != lost);
        }
        self.failures.push(error);
        let Some((copy, tries)) = self.next.pop_front() else { return Err(self.failure()) };
        metrics::failed_over();
        self.effort.read_failovers.add(1);
        tracing::debug!(worker = %copy.worker.worker, partition = %copy.partition, "reading from another copy");
        let (fetchers, effort) = (Arc::clone(&self.fetchers), Arc::clone(&self.effort));
        self.reader = LocationReader::new(fetchers, self.shuffle, copy, self.maps.clone(), tries, effort);
        Ok(())
    }

    /// Lost if every copy is.
    fn failure(&mut self) -> FetchError {
        let mut reasons: Vec<_> = self.failures.iter().map(FetchError::reason).collect();
        reasons.dedup();
        let (shuffle, reason) = (self.shuffle, reasons.join("; "));
        match self.failures.iter().all(|failure| matches!(failure, FetchError::Lost { .. })) {
            true => FetchError::Lost { shuffle, reason },
            false => FetchError::Unavailable { shuffle, reason },
        }
    }
}
