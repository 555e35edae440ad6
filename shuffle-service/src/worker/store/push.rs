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

impl Store {
    /// Takes the batches of one frame, each on its own.
    pub fn push(&self, push: Push, mut charge: Charge) -> Pushed {
        let Push { head, entries } = push;
        let shuffle = match self.admit(&head) {
            Ok(shuffle) => shuffle,
            Err(refusal) => {
                // Without a batch it only shows that its sender is alive.
                if !entries.is_empty() {
                    self.complaints.tell(head.shuffle, refusal);
                }
                return Pushed::refused(refusal, head.shuffle, entries.len());
            }
        };
        let locations = read(&shuffle.locations);
        if let Some(refusal) = self.refuses(head.shuffle.job) {
            // For good, although this may pass: what follows these batches goes where they go.
            let touched = |entry: &Entry| locations.get(&(entry.partition, entry.epoch));
            entries.iter().filter_map(touched).for_each(|location| location.split(refusal));
            return Pushed::refused(refusal, head.shuffle, entries.len());
        }
        let (mut accepted, mut accepted_bytes) = (0, 0);
        let mut pushed = Pushed::of(head.shuffle, entries.len());
        for (position, entry) in entries.into_iter().enumerate() {
            let bytes = entry.batch.record.len() as u64;
            let location = locations.get(&(entry.partition, entry.epoch)).ok_or(Refusal::Unknown);
            let charge = charge.split(bytes);
            match location.and_then(|location| accept(&mut pushed, position, location, entry, charge)) {
                Ok(()) => (accepted, accepted_bytes) = (accepted + 1, accepted_bytes + bytes),
                Err(refusal) => {
                    self.complaints.tell(head.shuffle, refusal);
                    metrics::refused_batches(refusal, 1);
                    pushed.says(position, PushVerdict::Refused(refusal));
                }
            }
        }
        metrics::pushed(accepted, accepted_bytes);
        if self.wants_less(head.shuffle.job, accepted_bytes) {
            metrics::congested();
            pushed.says_congested();
        }
        drop(charge);
        self.budget.check_pressure();
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

/// Stores one batch of a frame here; its second copy leaves with the frame.
pub(in crate::worker) fn accept(
    pushed: &mut Pushed,
    position: usize,
    location: &Arc<Location>,
    entry: Entry,
    charge: Charge,
) -> Result<(), Refusal> {
    let Entry { partition, epoch, batch } = entry;
    if batch.verify().is_err() {
        // It is sent again to another epoch, and so must be what follows it.
        location.split(Refusal::Corrupt);
        return Err(Refusal::Corrupt);
    }
    let copy = location.replica().is_some().then(|| batch.record.clone());
    if location.append(batch.record, charge)? == Taken::SplitSoon {
        pushed.says(position, PushVerdict::SplitSoon);
    }
    if let Some(record) = copy {
        pushed.awaits(position, location, (partition, epoch), record);
    }
    Ok(())
}
