//! What became of one frame: this worker's verdicts, and the second copies that its answer waits for.

use std::sync::Arc;

use bytes::Bytes;
use penstock_protocol::{
    frame::{Answer, PushRecorder, PushVerdict, Refusal},
    ids::ShuffleId,
};

use super::LocationKey;
use crate::{
    metrics,
    worker::{
        link::{Link, Verdicts},
        location::{Location, Pending},
    },
};

pub(in crate::worker) struct Pushed {
    shuffle: ShuffleId,
    /// How many came in the frame.
    batches: usize,
    /// One for each batch, or none if all were accepted.
    verdicts: Vec<PushVerdict>,
    groups: Vec<Group>,
}

/// Batches of one frame whose second copy goes to the same replica.
struct Group {
    link: Arc<Link>,
    copies: PushRecorder,
    awaited: Vec<Awaited>,
}

/// A batch whose second copy is on its way.
struct Awaited {
    /// Where it stands in the frame.
    position: usize,
    pending: Pending,
}

/// A frame whose second copies are on their way.
pub(in crate::worker) struct Forwarded {
    batches: usize,
    verdicts: Vec<PushVerdict>,
    groups: Vec<(Vec<Awaited>, Verdicts)>,
}

impl Pushed {
    /// All are accepted until something else is said.
    pub fn of(shuffle: ShuffleId, batches: usize) -> Self {
        Self { shuffle, batches, verdicts: Vec::new(), groups: Vec::new() }
    }

    pub(super) fn refused(refusal: Refusal, shuffle: ShuffleId, batches: usize) -> Self {
        metrics::refused_batches(refusal, batches as u64);
        Self { verdicts: vec![PushVerdict::Refused(refusal); batches], ..Self::of(shuffle, batches) }
    }

    pub(super) fn says(&mut self, position: usize, verdict: PushVerdict) {
        self.verdicts.resize(self.batches, PushVerdict::Accepted);
        self.verdicts[position] = verdict;
    }

    /// Something was accepted, and its client should push less at a time.
    pub(super) fn says_congested(&mut self) {
        self.verdicts.resize(self.batches, PushVerdict::Accepted);
        let accepted = self.verdicts.iter_mut().find(|verdict| **verdict == PushVerdict::Accepted);
        if let Some(verdict) = accepted {
            *verdict = PushVerdict::Congested;
        }
    }

    /// The batch at `position` is stored here and pending; `record` is its second copy.
    pub(super) fn awaits(
        &mut self,
        position: usize,
        location: &Arc<Location>,
        (partition, epoch): LocationKey,
        record: Bytes,
    ) {
        let Some(link) = location.replica() else { return };
        let known = self.groups.iter().position(|group| Arc::ptr_eq(&group.link, link));
        let group = known.unwrap_or_else(|| {
            let (link, copies, awaited) = (Arc::clone(link), PushRecorder::default(), Vec::new());
            self.groups.push(Group { link, copies, awaited });
            self.groups.len() - 1
        });
        let group = &mut self.groups[group];
        group.copies.add_record(partition, epoch, record);
        group.awaited.push(Awaited { position, pending: Pending::of(Arc::clone(location)) });
    }

    #[cfg(test)]
    pub fn verdicts(&self) -> &[PushVerdict] {
        &self.verdicts
    }

    /// The verdicts if they are known already.
    pub fn decided(self) -> Result<Vec<PushVerdict>, Self> {
        if self.groups.is_empty() { Ok(self.verdicts) } else { Err(self) }
    }

    /// Sends the second copies; returns when they are queued in their order.
    pub async fn forward(self) -> Forwarded {
        let mut groups = Vec::with_capacity(self.groups.len());
        for Group { link, copies, awaited } in self.groups {
            groups.push((awaited, link.send(self.shuffle, copies).await));
        }
        Forwarded { batches: self.batches, verdicts: self.verdicts, groups }
    }
}

impl Forwarded {
    /// What the client hears: a batch is accepted when both copies have it (invariant 1), and the worse of two verdicts
    /// counts (invariant 6).
    pub async fn decide(mut self) -> Vec<PushVerdict> {
        for (awaited, verdicts) in self.groups {
            let answer = verdicts.await;
            for (nth, Awaited { position, pending }) in awaited.into_iter().enumerate() {
                let theirs = match &answer {
                    Ok(answer) => of_replica(answer, nth),
                    Err(_) => PushVerdict::Refused(Refusal::ReplicaLost),
                };
                if let PushVerdict::Refused(refusal) = theirs {
                    pending.refused(refusal);
                }
                if theirs != PushVerdict::Accepted {
                    self.verdicts.resize(self.batches, PushVerdict::Accepted);
                    self.verdicts[position] = self.verdicts[position].or_worse(theirs);
                }
            }
        }
        self.verdicts
    }
}

/// To a client, a second copy that failed is one thing, whatever the reason.
fn of_replica(answer: &Answer, nth: usize) -> PushVerdict {
    match answer.verdict(nth) {
        // One that stops is not the place for the next copy either.
        PushVerdict::Refused(refusal) if !refusal.is_hard_split() || refusal == Refusal::Stopping => {
            PushVerdict::Refused(Refusal::ReplicaLost)
        }
        verdict => verdict,
    }
}
