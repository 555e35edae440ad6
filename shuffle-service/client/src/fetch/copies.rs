//! Reads one epoch of a partition: from one copy, or when that fails from the beginning of the other (invariant 19).

use std::{collections::VecDeque, ops::Range, sync::Arc};

use bytes::Bytes;
use penstock_protocol::{
    effort::FetchEffort,
    ids::{ShuffleId, TaskIndex},
    shuffle::Location,
};

use super::{
    Fetchers,
    location::{LocationReader, Persistence},
};
use crate::{error::FetchError, metrics, options::ClientOptions};

pub(super) struct EpochReader {
    fetchers: Arc<Fetchers>,
    shuffle: ShuffleId,
    maps: Option<Range<TaskIndex>>,
    reader: LocationReader,
    /// What is tried next: each copy in a hurry first, then each with more patience.
    next: VecDeque<(Location, Persistence)>,
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
        let mut copies: Vec<_> = location.copies().collect();
        copies.sort_by_key(|copy| fetchers.suspects.has(&copy.worker));
        let mut next = order(copies, &fetchers.options);
        let (first, persistence) = next.pop_front().expect("a location has a copy");
        let (own, counted) = (Arc::clone(&fetchers), Arc::clone(&effort));
        let reader = LocationReader::new(own, shuffle, first, maps.clone(), persistence, counted);
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
        let Some((copy, persistence)) = self.next.pop_front() else { return Err(self.failure()) };
        metrics::failed_over();
        self.effort.read_failovers.add(1);
        tracing::debug!(worker = %copy.worker.worker, partition = %copy.partition, "reading from another copy");
        let (fetchers, effort) = (Arc::clone(&self.fetchers), Arc::clone(&self.effort));
        self.reader =
            LocationReader::new(fetchers, self.shuffle, copy, self.maps.clone(), persistence, effort);
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

/// Which copy is tried when. With two, each is left soon in the first round, later in the next one, and in the last one only
/// if nothing helps: a machine that is slow for a while loses nothing.
fn order(copies: Vec<Location>, options: &ClientOptions) -> VecDeque<(Location, Persistence)> {
    let patient = Persistence { tries: options.connect_tries, patience: options.answer_timeout() };
    let few = options.revive_after_tries.min(options.connect_tries);
    let rounds = if copies.len() > 1 { 0..32 } else { 0..0 };
    let hurried = rounds
        .map(|round| Persistence { tries: few, patience: options.silence(round) })
        .take_while(|hurried| hurried.patience < patient.patience);
    let rounds = hurried.chain([patient]);
    rounds.flat_map(|persistence| copies.clone().into_iter().map(move |copy| (copy, persistence))).collect()
}

#[cfg(test)]
mod tests {
    use penstock_protocol::{
        ids::{Epoch, Incarnation, PartitionIndex},
        shuffle::WorkerAddress,
    };

    use super::*;

    fn copy(worker: &str) -> Location {
        let (control, data) = (String::new(), String::new());
        let address = WorkerAddress { worker: worker.into(), incarnation: Incarnation(1), control, data };
        Location::on(PartitionIndex(0), Epoch(0), Arc::new(address))
    }

    fn shown(copies: Vec<Location>) -> Vec<String> {
        let options =
            ClientOptions { silence_ms: 1_000, answer_timeout_ms: 3_000, ..ClientOptions::default() };
        let show = |(copy, how): (Location, Persistence)| {
            format!("{}: {} tries, {:?}", copy.worker.worker, how.tries, how.patience)
        };
        order(copies, &options).into_iter().map(show).collect()
    }

    #[test]
    fn two_copies_are_tried_in_turn_with_growing_patience() {
        let expected = [
            "a: 2 tries, 1s",
            "b: 2 tries, 1s",
            "a: 2 tries, 2s",
            "b: 2 tries, 2s",
            "a: 6 tries, 3s",
            "b: 6 tries, 3s",
        ];
        assert_eq!(shown(vec![copy("a"), copy("b")]), expected);
    }

    #[test]
    fn a_single_copy_is_tried_with_all_patience_at_once() {
        assert_eq!(shown(vec![copy("a")]), ["a: 6 tries, 3s"]);
    }
}
