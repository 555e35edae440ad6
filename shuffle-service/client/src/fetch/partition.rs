//! Reads one partition: all its epochs, the winners' batches only, each once, and the sum compared at the end.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use penstock_protocol::{
    effort::FetchEffort,
    frame::{Batches, FrameError},
    ids::{ShuffleId, TaskIndex},
    shuffle::{Location, PartitionSource, PartitionTotals, Winner},
};

use super::{Fetchers, copies::EpochReader};
use crate::{error::FetchError, metrics, winners::Selection};

pub(super) struct PartitionReader {
    fetchers: Arc<Fetchers>,
    shuffle: ShuffleId,
    source: PartitionSource,
    locations: std::vec::IntoIter<Location>,
    maps: Option<Range<TaskIndex>>,
    current: Option<EpochReader>,
    batches: Batches,
    selection: Selection,
    effort: Arc<FetchEffort>,
}

impl PartitionReader {
    pub fn new(
        fetchers: Arc<Fetchers>,
        shuffle: ShuffleId,
        winners: &[Winner],
        mut source: PartitionSource,
        maps: Option<Range<TaskIndex>>,
        effort: Arc<FetchEffort>,
    ) -> Self {
        let locations = std::mem::take(&mut source.locations).into_iter();
        let batches = Batches::new(Bytes::new());
        let selection = Selection::new(winners);
        Self { fetchers, shuffle, source, locations, maps, current: None, batches, selection, effort }
    }

    /// The next payload that counts; none after the last one, if the totals agree (invariant 23).
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if let Some(payload) = self.next_here()? {
                return Ok(Some(payload));
            }
            let Some(current) = &mut self.current else {
                match self.locations.next() {
                    Some(location) => {
                        let fetchers = Arc::clone(&self.fetchers);
                        let maps = self.maps.clone();
                        let effort = Arc::clone(&self.effort);
                        self.current =
                            Some(EpochReader::new(fetchers, self.shuffle, &location, maps, effort));
                        continue;
                    }
                    None => return self.check_totals().map(|()| None),
                }
            };
            match current.next().await? {
                Some(batches) => self.batches = Batches::new(batches),
                None => self.current = None,
            }
        }
    }

    /// The next payload that counts among the batches at hand. A damaged one is looked for in the other copy.
    fn next_here(&mut self) -> Result<Option<Bytes>, FetchError> {
        while let Some(batch) = self.batches.next() {
            let whole = match &batch {
                Ok(batch) if !self.selection.wants(&batch.header) => {
                    metrics::skipped_batch();
                    self.effort.batches_skipped.add(1);
                    continue;
                }
                // Before it counts, so that the other copy of a damaged batch is still wanted.
                Ok(batch) => batch.verify().map(|()| batch),
                Err(error) => Err(error.clone()),
            };
            match whole {
                Ok(batch) => {
                    self.selection.admit(&batch.header);
                    return Ok(Some(batch.payload()));
                }
                Err(error) => {
                    let damaged = self.damaged(&error);
                    self.batches = Batches::new(Bytes::new());
                    self.current
                        .as_mut()
                        .map_or(Err(damaged.clone()), |current| current.fail_over(damaged))?;
                }
            }
        }
        Ok(None)
    }

    fn damaged(&self, error: &FrameError) -> FetchError {
        let partition = self.source.partition;
        let worker = self.current.as_ref().map_or("?", |current| current.location().worker.worker.as_str());
        let reason = format!("partition {partition} is damaged on worker {worker}: {error}");
        FetchError::Lost { shuffle: self.shuffle, reason }
    }

    fn check_totals(&self) -> Result<(), FetchError> {
        let (read, reported) = (self.selection.totals(), self.source.totals);
        if read == reported {
            return Ok(());
        }
        let shown = |totals: PartitionTotals| format!("{} rows in {} batches", totals.rows, totals.batches);
        let partition = self.source.partition;
        let (read, reported) = (shown(read), shown(reported));
        let reason = format!("partition {partition} holds {read}, its writers reported {reported}");
        Err(FetchError::Lost { shuffle: self.shuffle, reason })
    }
}
