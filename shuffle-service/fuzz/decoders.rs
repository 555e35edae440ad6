//! Everything that decodes bytes from others, with what must hold whatever the bytes are: no panic, no more memory than
//! there are bytes, and what is understood means the same when it is said again.
//!
//! The fuzzer calls these with bytes of its own making, the tests with those that it kept.
#![allow(dead_code)]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use penstock_protocol::{
    decode::{DecodeError, each, job_id, required},
    frame::{
        Acks, BATCH_HEADER_BYTES, Batches, Close, Credit, Data, ENTRY_BYTES, End, FRAME_HEAD_BYTES, Fault,
        FrameError, FrameHead, FrameReader, Hello, Kind, Loan, LoanTaken, Open, PUSH_HEAD_BYTES, Push,
        PushRecorder, ReadFrameError, Welcome,
    },
    ids::ShuffleId,
    pb,
    shuffle::{CommitVerdict, PartitionSource, ShuffleTarget, Winner, WorkerAddress},
    task::{StageDefinition, TaskAssignment},
};
use prost::Message;

/// As much as a worker with little memory accepts.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A connection's bytes: frame after frame until one is not whole.
pub fn frame(bytes: &[u8]) {
    let mut rest = Bytes::copy_from_slice(bytes);
    while rest.len() >= FRAME_HEAD_BYTES {
        let head: [u8; FRAME_HEAD_BYTES] = rest.split_to(FRAME_HEAD_BYTES)[..].try_into().expect("a head");
        let Ok(parsed) = FrameHead::parse(head, BODY_BYTES_MAX) else { return };
        assert_eq!(parsed.encode(), head, "a head means the same when it is said again");
        assert!(parsed.body_bytes <= BODY_BYTES_MAX);
        if rest.len() < parsed.body_bytes {
            return;
        }
        body(parsed.kind, rest.split_to(parsed.body_bytes));
    }
}

fn body(kind: Kind, body: Bytes) {
    match kind {
        Kind::Push => push(body),
        Kind::Data => {
            if let Ok(data) = Data::parse(body.clone()) {
                assert_eq!(data.batches.len() + 4, body.len());
                batches(&data.batches);
            }
        }
        Kind::Hello => said_again(Hello::parse(body.clone()), |hello| hello.encode(), Hello::parse),
        Kind::Welcome => same(&body, Welcome::parse(body.clone()), |welcome| welcome.encode()),
        Kind::Fault => said_again(Fault::parse(body.clone()), |fault| fault.encode(), Fault::parse),
        Kind::Acks => same(&body, Acks::parse(body.clone()), |acks| acks.encode()),
        Kind::Open => same(&body, Open::parse(body.clone()), |open| open.encode()),
        Kind::Loan => same(&body, Loan::parse(body.clone()), |loan| loan.encode()),
        Kind::LoanTaken => same(&body, LoanTaken::parse(body.clone()), |taken| taken.encode()),
        Kind::Credit => same(&body, Credit::parse(body.clone()), |credit| credit.encode()),
        Kind::Close => same(&body, Close::parse(body.clone()), |close| close.encode()),
        Kind::End => said_again(End::parse(body.clone()), |end| end.encode(), End::parse),
    }
}

/// Frames without text have one form.
fn same<T>(body: &Bytes, parsed: Result<T, FrameError>, encode: impl Fn(&T) -> Bytes) {
    if let Ok(parsed) = parsed {
        assert_eq!(encode(&parsed)[FRAME_HEAD_BYTES..], body[..]);
    }
}

/// Text is made valid when it is read, so only the value is the same.
fn said_again<T: PartialEq + std::fmt::Debug>(
    parsed: Result<T, FrameError>,
    encode: impl Fn(&T) -> Bytes,
    parse: impl Fn(Bytes) -> Result<T, FrameError>,
) {
    if let Ok(parsed) = parsed {
        let again = parse(encode(&parsed).slice(FRAME_HEAD_BYTES..));
        assert_eq!(again.as_ref(), Ok(&parsed));
    }
}

fn push(body: Bytes) {
    let parsed = Push::parse(body.clone());
    assert_eq!(from_stream(&body).ok().as_ref(), parsed.as_ref().ok(), "a connection brings the same");
    let Ok(push) = parsed else { return };
    let mut recorder = PushRecorder::default();
    let mut bytes = PUSH_HEAD_BYTES;
    for entry in &push.entries {
        assert_eq!(entry.batch.record.len(), entry.batch.header.record_bytes());
        bytes += ENTRY_BYTES + entry.batch.record.len();
        // Damaged payloads are refused one by one, later.
        let _ = entry.batch.verify();
        recorder.add(entry.partition, entry.epoch, &entry.batch.header, entry.batch.payload());
    }
    assert_eq!(bytes, body.len(), "every byte belongs to one batch");
    assert_eq!(recorder.finish(push.head).concat()[FRAME_HEAD_BYTES..], body[..]);
}

/// A push as a worker reads it. Memory never makes one wait.
fn from_stream(body: &[u8]) -> Result<Push, ReadFrameError> {
    let mut reader = FrameReader::new(body);
    let read = pin!(async { reader.push(body.len()).await?.read().await });
    match read.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(push) => push,
        Poll::Pending => unreachable!("all bytes are there"),
    }
}

/// Stored batches, as a reader gets them.
pub fn batches(bytes: &[u8]) {
    let mut taken = 0;
    for batch in Batches::new(Bytes::copy_from_slice(bytes)) {
        let Ok(batch) = batch else { break };
        assert!(batch.record.len() >= BATCH_HEADER_BYTES);
        assert_eq!(batch.record[..], bytes[taken..taken + batch.record.len()]);
        taken += batch.record.len();
        let _ = batch.verify();
        let _ = batch.header.totals();
    }
    assert!(taken <= bytes.len());
}

/// Control messages: the first byte chooses which.
pub fn control(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 10 {
        0 => decoded(bytes, |message: pb::WorkerHeartbeat| {
            required::<_, WorkerAddress>(message.address, "address")?;
            message.jobs.iter().try_for_each(|job| job_id(job, "jobs").map(drop))?;
            message.job_usage.iter().try_for_each(|usage| job_id(&usage.job, "job_usage.job").map(drop))
        }),
        1 => decoded(bytes, |message: pb::PlaceRequest| {
            required::<_, ShuffleId>(message.shuffle, "shuffle").map(drop)
        }),
        2 => decoded(bytes, |message: pb::PlaceAnswer| {
            required::<_, ShuffleTarget>(message.target, "target").map(drop)
        }),
        3 => decoded(bytes, |message: pb::ReserveRequest| {
            required::<_, ShuffleId>(message.shuffle, "shuffle").map(drop)
        }),
        4 => decoded(bytes, |message: pb::CommitRequest| {
            required::<_, ShuffleId>(message.shuffle, "shuffle")?;
            each::<_, Winner, Vec<_>>(message.winners, "winners").map(drop)
        }),
        5 => decoded(bytes, |message: pb::CommitAnswer| {
            message
                .verdicts
                .into_iter()
                .try_for_each(|verdict| required::<_, CommitVerdict>(verdict.verdict, "verdict").map(drop))
        }),
        6 => decoded(bytes, |message: pb::ReleaseRequest| match message.what {
            Some(pb::release_request::What::Job(job)) => job_id(&job, "job").map(drop),
            Some(pb::release_request::What::Shuffle(shuffle)) => {
                required::<_, ShuffleId>(Some(shuffle), "shuffle").map(drop)
            }
            Some(pb::release_request::What::Locations(locations)) => {
                required::<_, ShuffleId>(locations.shuffle, "locations.shuffle").map(drop)
            }
            None => Err(DecodeError::missing("what")),
        }),
        7 => decoded(bytes, |message: pb::StageDefinition| StageDefinition::try_from(message).map(drop)),
        8 => decoded(bytes, |message: pb::TaskAssignment| TaskAssignment::try_from(message).map(drop)),
        _ => decoded(bytes, |message: pb::PartitionSource| PartitionSource::try_from(message).map(drop)),
    }
}

/// An error names its field; nothing else is expected of bytes that nobody sent.
fn decoded<M: Message + Default>(bytes: &[u8], read: impl Fn(M) -> Result<(), DecodeError>) {
    if let Ok(message) = M::decode(bytes)
        && let Err(error) = read(message)
    {
        assert!(!error.path.is_empty());
    }
}
