//! Reads one epoch of a partition: from one copy, or when that fails from the beginning of the other (invariant 19).

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

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
    /// A copy of which nobody knows whether it is committed.
    unanswered: Option<Location>,
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
        let unanswered = if location.replica_unanswered { copies.pop() } else { None };
        copies.sort_by_key(|copy| fetchers.suspects.has(&copy.worker));
        let mut next = order(copies, unanswered.as_ref(), &fetchers.options);
        let (first, persistence) = next.pop_front().expect("a location has a copy");
        let (own, counted) = (Arc::clone(&fetchers), Arc::clone(&effort));
        let reader = LocationReader::new(own, shuffle, first, maps.clone(), persistence, counted);
        Self { fetchers, shuffle, maps, unanswered, reader, next, failures: Vec::new(), effort }
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
        let failed = self.reader.location().clone();
        if matches!(error, FetchError::Lost { .. }) {
            self.next.retain(|(copy, _)| *copy != failed);
        }
        // What was never promised decides nothing.
        if self.unanswered.as_ref() != Some(&failed) {
            self.failures.push(error);
        }
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
/// if nothing helps: a machine that is slow for a while loses nothing. One of which nobody knows whether it is committed is
/// tried once and in a hurry, since the stage can run again.
fn order(
    copies: Vec<Location>,
    unanswered: Option<&Location>,
    options: &ClientOptions,
) -> VecDeque<(Location, Persistence)> {
    let (tries, patience) = (options.connect_tries, options.answer_timeout());
    let patient = Persistence { tries, patience, absence: options.absence(), outage: options.outage() };
    let few = options.revive_after_tries.min(options.connect_tries);
    let hurried = |round| {
        let (patience, absence, outage) = (options.silence(round), Duration::ZERO, Duration::ZERO);
        Persistence { tries: few, patience, absence, outage }
    };
    if let Some(unanswered) = unanswered {
        let once = copies.iter().chain([unanswered]).map(|copy| (copy.clone(), hurried(0)));
        return once.chain(copies.iter().map(|copy| (copy.clone(), patient))).collect();
    }
    let rounds = if copies.len() > 1 { 0..32 } else { 0..0 };
    let hurried = rounds.map(hurried).take_while(|hurried| hurried.patience < patient.patience);
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

    fn shown(copies: Vec<Location>, unanswered: Option<&Location>) -> Vec<String> {
        let options =
            ClientOptions { silence_ms: 1_000, answer_timeout_ms: 3_000, ..ClientOptions::default() };
        let show = |(copy, how): (Location, Persistence)| {
            let Persistence { tries, patience, absence, .. } = how;
            format!("{}: {tries} tries, {patience:?}, {absence:?}", copy.worker.worker)
        };
        order(copies, unanswered, &options).into_iter().map(show).collect()
    }

    #[test]
    fn two_copies_are_tried_in_turn_with_growing_patience() {
        let expected = [
            "a: 2 tries, 1s, 0ns",
            "b: 2 tries, 1s, 0ns",
            "a: 2 tries, 2s, 0ns",
            "b: 2 tries, 2s, 0ns",
            "a: 6 tries, 3s, 10s",
            "b: 6 tries, 3s, 10s",
        ];
        assert_eq!(shown(vec![copy("a"), copy("b")], None), expected);
    }

    #[test]
    fn a_single_copy_is_tried_with_all_patience_at_once() {
        assert_eq!(shown(vec![copy("a")], None), ["a: 6 tries, 3s, 10s"]);
    }

    #[test]
    fn a_copy_without_an_answer_is_tried_once() {
        let expected = ["a: 2 tries, 1s, 0ns", "b: 2 tries, 1s, 0ns", "a: 6 tries, 3s, 10s"];
        assert_eq!(shown(vec![copy("a")], Some(&copy("b"))), expected);
    }
}
