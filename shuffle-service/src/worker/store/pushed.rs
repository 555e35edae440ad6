//! What became of one frame: this worker's verdicts, and the second copies that its answer waits for.

use std::sync::Arc;

use penstock_protocol::{
    frame::{Answer, Push, PushRecorder, PushVerdict, Refusal},
    ids::ShuffleId,
};

use crate::{
    metrics,
    worker::{
        link::{Copies, Link, Verdicts},
        location::{Location, Pending},
    },
};

#[derive(Default)]
pub(in crate::worker) struct Pushed {
    /// One for each batch, or none if all were accepted.
    verdicts: Vec<PushVerdict>,
    groups: Vec<Group>,
}

/// Batches of one frame whose second copy goes to the same replica.
struct Group {
    link: Arc<Link>,
    /// Where they stand in the frame.
    positions: Vec<usize>,
    pending: Vec<Pending>,
    shuffle: Option<ShuffleId>,
    copies: Option<Copies>,
}

/// A frame whose second copies are on their way.
pub(in crate::worker) struct Forwarded {
    verdicts: Vec<PushVerdict>,
    batches: usize,
    groups: Vec<(Group, Verdicts)>,
}

impl Pushed {
    pub fn refused(refusal: Refusal, push: &Push) -> Self {
        metrics::refused_batches(refusal, push.entries.len() as u64);
        Self { verdicts: vec![PushVerdict::Refused(refusal); push.entries.len()], groups: Vec::new() }
    }

    pub(super) fn says(&mut self, position: usize, verdict: PushVerdict, push: &Push) {
        self.verdicts.resize(push.entries.len(), PushVerdict::Accepted);
        self.verdicts[position] = verdict;
    }

    /// Something was accepted, and its client should push less at a time.
    pub(super) fn says_congested(&mut self, push: &Push) {
        self.verdicts.resize(push.entries.len(), PushVerdict::Accepted);
        let accepted = self.verdicts.iter_mut().find(|verdict| **verdict == PushVerdict::Accepted);
        if let Some(verdict) = accepted {
            *verdict = PushVerdict::Congested;
        }
    }

    /// The batch at `position` is stored here and pending.
    pub(super) fn awaits(&mut self, position: usize, location: &Arc<Location>) {
        let Some(link) = location.replica() else { return };
        let pending = Pending::of(Arc::clone(location));
        let known = self.groups.iter_mut().find(|group| Arc::ptr_eq(&group.link, link));
        match known {
            Some(group) => {
                group.positions.push(position);
                group.pending.push(pending);
            }
            None => self.groups.push(Group {
                link: Arc::clone(link),
                positions: vec![position],
                pending: vec![pending],
                shuffle: None,
                copies: None,
            }),
        }
    }

    /// Takes from the frame what is to be sent on.
    pub(super) fn complete(&mut self, push: Push) {
        for group in &mut self.groups {
            group.shuffle = Some(push.head.shuffle);
            group.copies = Some(copies(&group.positions, &push));
        }
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
    pub async fn forward(self, batches: usize) -> Forwarded {
        let mut groups = Vec::with_capacity(self.groups.len());
        for mut group in self.groups {
            let (Some(shuffle), Some(copies)) = (group.shuffle, group.copies.take()) else { continue };
            let verdicts = group.link.send(shuffle, copies).await;
            groups.push((group, verdicts));
        }
        Forwarded { verdicts: self.verdicts, batches, groups }
    }
}

/// The frame as it came if all of it goes there; else its parts.
fn copies(positions: &[usize], push: &Push) -> Copies {
    if positions.len() == push.entries.len() {
        let count = u32::try_from(positions.len()).expect("as many as in a frame");
        return Copies::Whole { count, entries: push.bytes.clone() };
    }
    let mut part = PushRecorder::default();
    for position in positions {
        let entry = &push.entries[*position];
        part.add_record(entry.partition, entry.epoch, entry.batch.record.clone());
    }
    Copies::Part(part)
}

impl Forwarded {
    /// What the client hears: a batch is accepted when both copies have it (invariant 1), and the worse of two verdicts
    /// counts (invariant 6).
    pub async fn decide(mut self) -> Vec<PushVerdict> {
        for (group, verdicts) in self.groups {
            let answer = verdicts.await;
            for (nth, (position, pending)) in group.positions.into_iter().zip(group.pending).enumerate() {
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
