//! Takes batches, each on its own.

use std::sync::Arc;

use penstock_protocol::{
    frame::{Entry, Push, PushHead, PushVerdict, Refusal},
    ids::{JobId, ShuffleId},
};
use tokio::time::Instant;

use super::{LocationKey, Pushed, Shuffle, Store, read};
use crate::{
    metrics,
    worker::{
        location::{Location, Taken},
        memory::{Charge, MemoryState},
    },
};

/// A record that is smaller than this part of the buffer that it came in is copied out of it: records may live for long, and
/// only their own bytes are counted.
const SHARE_OF_BUFFER_MIN: (usize, usize) = (7, 8);

impl Store {
    /// Takes the batches of one frame, each on its own; their bytes lie in a buffer of `buffer_bytes`.
    pub fn push(&self, push: Push, buffer_bytes: usize, mut charge: Charge) -> Pushed {
        let shuffle = match self.admit(&push.head) {
            Ok(shuffle) => shuffle,
            Err(refusal) => {
                self.complaints.tell(push.head.shuffle, refusal);
                return Pushed::refused(refusal, &push);
            }
        };
        let locations = read(&shuffle.locations);
        if let Some(refusal) = self.refuses(push.head.shuffle.job) {
            // For good, although this may pass: what follows these batches goes where they go.
            let touched = |entry: &Entry| locations.get(&(entry.partition, entry.epoch));
            push.entries.iter().filter_map(touched).for_each(|location| location.split(refusal));
            return Pushed::refused(refusal, &push);
        }
        let (mut accepted, mut accepted_bytes) = (0, 0);
        let mut pushed = Pushed::default();
        for (index, entry) in push.entries.iter().enumerate() {
            let bytes = entry.batch.record.len() as u64;
            let taken =
                locations.get(&(entry.partition, entry.epoch)).ok_or(Refusal::Unknown).and_then(|location| {
                    Ok((location, accept(location, entry, buffer_bytes, charge.split(bytes))?))
                });
            match taken {
                Ok((location, taken)) => {
                    (accepted, accepted_bytes) = (accepted + 1, accepted_bytes + bytes);
                    if taken == Taken::SplitSoon {
                        pushed.says(index, PushVerdict::SplitSoon, &push);
                    }
                    if location.replica().is_some() {
                        pushed.awaits(index, location);
                    }
                }
                Err(refusal) => {
                    self.complaints.tell(push.head.shuffle, refusal);
                    metrics::refused_batches(refusal, 1);
                    pushed.says(index, PushVerdict::Refused(refusal), &push);
                }
            }
        }
        metrics::pushed(accepted, accepted_bytes);
        if self.wants_less(push.head.shuffle.job, accepted_bytes) {
            metrics::congested();
            pushed.says_congested(&push);
        }
        drop(charge);
        self.budget.check_pressure();
        pushed.complete(push);
        pushed
    }

    /// The shuffle that a frame is for, if its client may push to it.
    fn admit(&self, head: &PushHead) -> Result<Arc<Shuffle>, Refusal> {
        self.guard.check(head.shuffle.job, head.token)?;
        if head.incarnation != self.incarnation {
            return Err(Refusal::OtherIncarnation);
        }
        self.shuffle(head.shuffle)
    }

    /// Counts what a job pushed; whether its user should push less at a time.
    fn wants_less(&self, job: JobId, bytes: u64) -> bool {
        let is_short = self.budget.state() >= MemoryState::Short;
        self.congestion.pushed(Instant::now(), is_short, job, bytes, |job| self.jobs_known.user(job))
    }

    /// Why this worker takes nothing of a job at the moment.
    fn refuses(&self, job: JobId) -> Option<Refusal> {
        if self.standing.get().takes_nothing() {
            return Some(Refusal::Stopping);
        }
        self.jobs_known.is_over_quota(job).then_some(Refusal::OverQuota)
    }

    /// There was no room for a batch: what follows it is refused as well.
    pub fn refuse(&self, id: ShuffleId, key: LocationKey, refusal: Refusal) {
        if let Ok(location) = self.location(self.incarnation, id, key) {
            location.split(refusal);
        }
    }
}

fn accept(location: &Location, entry: &Entry, buffer_bytes: usize, charge: Charge) -> Result<Taken, Refusal> {
    if entry.batch.verify().is_err() {
        // It is sent again to another epoch, and so must be what follows it.
        location.split(Refusal::Corrupt);
        return Err(Refusal::Corrupt);
    }
    let record = &entry.batch.record;
    let (part, whole) = SHARE_OF_BUFFER_MIN;
    let shared = record.len() * whole < buffer_bytes * part;
    let record = if shared { bytes::Bytes::copy_from_slice(record) } else { record.clone() };
    location.append(record, charge)
}
