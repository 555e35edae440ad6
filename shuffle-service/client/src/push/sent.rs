//! A frame on its way: kept until it is answered, so that it can be sent again byte for byte.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use penstock_protocol::{
    frame::{Answer, Entry, FRAME_HEAD_BYTES, Push, PushHead, PushVerdict},
    ids::Incarnation,
};

use super::{
    Request, Ticket,
    progress::{News, Returned, Why},
};
use crate::metrics;

pub(super) struct Sent {
    pub request: u64,
    pub body_bytes: usize,
    pub pieces: Vec<Bytes>,
    /// The silence of its worker after which it goes back to its writer.
    pub patience: Duration,
    ticket: Ticket,
    was_sent: bool,
}

impl Sent {
    pub fn new(request: Request, number: u64, incarnation: Incarnation) -> Self {
        let Request { shuffle, token, batches, ticket, patience } = request;
        let body_bytes = batches.body_bytes();
        let head = PushHead { request: number, incarnation, shuffle, token };
        Self { request: number, body_bytes, pieces: batches.finish(head), patience, ticket, was_sent: false }
    }

    pub fn answered(mut self, answer: &Answer) {
        if answer.verdicts.iter().all(|verdict| *verdict == PushVerdict::Accepted) {
            metrics::pushed(self.body_bytes as u64);
            return self.ticket.accepted();
        }
        let mut news = News::default();
        for (position, Entry { partition, epoch, batch }) in entries(&self.pieces).into_iter().enumerate() {
            match answer.verdict(position) {
                PushVerdict::Accepted | PushVerdict::Congested => {
                    metrics::pushed(batch.record.len() as u64);
                }
                PushVerdict::SplitSoon => {
                    metrics::pushed(batch.record.len() as u64);
                    news.ending.insert(partition, epoch);
                }
                PushVerdict::Refused(refusal) => {
                    let why = Why::Refused(refusal);
                    news.returned.push(Returned { partition, epoch, batch, why });
                }
            }
        }
        if answer.verdicts.contains(&PushVerdict::Congested) {
            self.ticket.congested();
        } else if news.returned.is_empty() {
            self.ticket.taken();
        }
        self.ticket.ended(news);
    }

    /// It goes out, for the first time or again.
    pub fn goes_out(&mut self) {
        if std::mem::replace(&mut self.was_sent, true) {
            self.ticket.resent();
        }
    }

    pub fn must_wait(&self) -> bool {
        self.ticket.must_wait()
    }

    /// Gives everything back to the writer.
    pub fn returned(self, why: &Why) {
        let batches = entries(&self.pieces).into_iter().map(|Entry { partition, epoch, batch }| Returned {
            partition,
            epoch,
            batch,
            why: why.clone(),
        });
        let news = News { returned: batches.collect(), ..News::default() };
        self.ticket.ended(news);
    }
}

impl Request {
    /// Gives everything back to the writer without having sent it.
    pub fn returned(self, why: &Why) {
        Sent::new(self, 0, Incarnation::default()).returned(why);
    }

    pub fn must_wait(&self) -> bool {
        self.ticket.must_wait()
    }
}

fn entries(pieces: &[Bytes]) -> Vec<Entry> {
    let mut frame = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| frame.put_slice(piece));
    let body = frame.freeze().slice(FRAME_HEAD_BYTES..);
    Push::parse(body).expect("it was built in this process").entries
}

#[cfg(test)]
mod tests {
    use penstock_protocol::{
        frame::{BatchHeader, PushRecorder},
        ids::{AttemptNumber, BatchId, Epoch, JobId, PartitionIndex, ShuffleId, StageId, TaskIndex},
        token::JobToken,
    };
    use uuid::Uuid;

    use super::*;

    // Invariant 7: what comes back are the bytes that were sent, with their ids.
    #[test]
    fn a_frame_comes_apart_into_the_batches_it_was_made_of() {
        let mut recorder = PushRecorder::default();
        let payloads = [Bytes::from(vec![1; 10]), Bytes::from(vec![2; 5000])];
        let headers: Vec<_> = (0..)
            .zip(&payloads)
            .map(|(id, payload)| BatchHeader::of(TaskIndex(3), AttemptNumber(4), BatchId(id), 7, payload))
            .collect();
        for (header, payload) in headers.iter().zip(&payloads) {
            recorder.add(PartitionIndex(header.batch.0), Epoch(9), header, payload.clone());
        }
        let shuffle = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(0), run: 0 };
        let head = PushHead { request: 1, incarnation: Default::default(), shuffle, token: JobToken::NONE };
        let entries = entries(&recorder.finish(head));
        assert_eq!(entries.iter().map(|entry| entry.batch.header).collect::<Vec<_>>(), headers);
        assert_eq!(entries.iter().map(|entry| entry.batch.payload()).collect::<Vec<_>>(), payloads);
        assert!(entries.iter().all(|entry| entry.epoch == Epoch(9)));
    }
}
