#![allow(clippy::unwrap_used)]

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use proptest::prelude::*;
use tokio::io::ReadBuf;
use uuid::Uuid;

use super::*;
use crate::{
    ids::{AttemptNumber, BatchId, Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, StageId, TaskIndex},
    token::JobToken,
};

fn shuffle() -> ShuffleId {
    ShuffleId { job: JobId(Uuid::from_u128(0x0123_4567_89ab_cdef)), exchange: StageId(3), run: 1 }
}

fn push_head() -> PushHead {
    PushHead { request: 7, incarnation: Incarnation(99), shuffle: shuffle(), token: TOKEN }
}

const TOKEN: JobToken = JobToken::from_bytes([7; 16]);

fn join(pieces: &[Bytes]) -> Vec<u8> {
    pieces.concat()
}

fn body_of(frame: &[u8], kind: Kind) -> Bytes {
    let head = FrameHead::parse(frame[..FRAME_HEAD_BYTES].try_into().unwrap(), FRAME_BYTES_MAX).unwrap();
    assert_eq!((head.kind, head.body_bytes), (kind, frame.len() - FRAME_HEAD_BYTES));
    Bytes::copy_from_slice(&frame[FRAME_HEAD_BYTES..])
}

fn push_of(batches: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
    let mut recorder = PushRecorder::default();
    for (index, (partition, rows, payload)) in batches.iter().enumerate() {
        let header = BatchHeader::of(TaskIndex(4), AttemptNumber(2), BatchId(index as u32), *rows, payload);
        recorder.add(PartitionIndex(*partition), Epoch(0), &header, payload.clone().into());
    }
    assert_eq!(recorder.len() as usize, batches.len());
    join(&recorder.finish(push_head()))
}

fn batches() -> impl Strategy<Value = Vec<(u32, u32, Vec<u8>)>> {
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        (2000_usize..5000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    proptest::collection::vec((any::<u32>(), any::<u32>(), payload), 0..12)
}

/// Gives so many bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl tokio::io::AsyncRead for Slow<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let bytes = self.1.min(self.0.len()).min(into.remaining());
        let (now, later) = self.0.split_at(bytes);
        into.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

fn now<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

async fn push_from(reader: &mut FrameReader<Slow<'_>>) -> Result<Push, ReadFrameError> {
    let head = reader.head(FRAME_BYTES_MAX).await?.expect("a frame");
    reader.push(head.body_bytes).await?.read().await
}

async fn skipped_from(
    reader: &mut FrameReader<Slow<'_>>,
) -> Result<(PushHead, Vec<PartitionIndex>), ReadFrameError> {
    let head = reader.head(FRAME_BYTES_MAX).await?.expect("a frame");
    let mut skipped = Vec::new();
    let (head, count) =
        reader.push(head.body_bytes).await?.skip(|_, partition, _| skipped.push(partition)).await?;
    assert_eq!(skipped.len(), count as usize);
    Ok((head, skipped))
}

/// Which payloads are what their headers say: a batch that came from a stream is looked at on the way.
fn verified(push: &Push) -> Vec<bool> {
    push.entries.iter().map(|entry| entry.batch.verify().is_ok()).collect()
}

/// Small batches and large ones, which are read in another way, and such as are read in several parts.
fn batches_of_all_sizes() -> impl Strategy<Value = Vec<(u32, u32, Vec<u8>)>> {
    let payload = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => (15_000_usize..18_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        1 => (60_000_usize..140_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        1 => (250_000_usize..600_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    proptest::collection::vec((any::<u32>(), any::<u32>(), payload), 0..8)
}

proptest! {
    #[test]
    fn a_push_is_read_from_a_stream_as_it_is_parsed(
        frames in proptest::collection::vec(batches_of_all_sizes(), 1..3),
        at_once in prop_oneof![1_usize..50, 1000_usize..300_000],
    ) {
        let frames: Vec<_> = frames.iter().map(|batches| push_of(batches)).collect();
        let stream = frames.concat();
        let mut reader = FrameReader::new(Slow(&stream, at_once));
        let mut skipping = FrameReader::new(Slow(&stream, at_once));
        for frame in &frames {
            let parsed = Push::parse(body_of(frame, Kind::Push)).unwrap();
            let partitions: Vec<_> = parsed.entries.iter().map(|entry| entry.partition).collect();
            prop_assert_eq!(now(skipped_from(&mut skipping)).unwrap(), (parsed.head, partitions));
            let read = now(push_from(&mut reader)).unwrap();
            prop_assert!(verified(&read).into_iter().all(|is_right| is_right));
            prop_assert_eq!(read, parsed);
        }
        prop_assert!(now(reader.head(FRAME_BYTES_MAX)).unwrap().is_none());
        prop_assert!(now(skipping.head(FRAME_BYTES_MAX)).unwrap().is_none());
    }

    // Invariant 8, of a stream.
    #[test]
    fn a_damaged_push_is_refused_by_a_stream_as_it_is_when_parsed(
        batches in batches_of_all_sizes(),
        position in any::<prop::sample::Index>(),
        flip in 1_u8..,
        at_once in 1_usize..100_000,
    ) {
        let mut frame = push_of(&batches);
        let length = frame.len();
        frame[FRAME_HEAD_BYTES + position.index(length - FRAME_HEAD_BYTES)] ^= flip;
        let parsed = Push::parse(body_of(&frame, Kind::Push));
        match (now(push_from(&mut FrameReader::new(Slow(&frame, at_once)))), parsed) {
            (Ok(read), Ok(parsed)) => {
                prop_assert_eq!(verified(&read), verified(&parsed));
                prop_assert_eq!(read, parsed);
            }
            (Err(ReadFrameError::Frame(_)), Err(_)) => {}
            (read, parsed) => prop_assert!(false, "{read:?} but {parsed:?}"),
        }
        let cut = position.index(length - FRAME_HEAD_BYTES) + FRAME_HEAD_BYTES;
        prop_assert!(now(push_from(&mut FrameReader::new(Slow(&frame[..cut], at_once)))).is_err());
    }

    // Invariant 8: a torn frame leaves no batch, wherever in a large one it is cut.
    #[test]
    fn a_push_that_a_connection_cuts_is_no_push(
        batches in batches_of_all_sizes(),
        last in 16_000_usize..200_000,
        cut in any::<prop::sample::Index>(),
        at_once in 1000_usize..100_000,
    ) {
        let batches = [batches, vec![(0, 1, vec![7; last])]].concat();
        let frame = push_of(&batches);
        let cut = &frame[..frame.len() - 1 - cut.index(last)];
        prop_assert!(now(push_from(&mut FrameReader::new(Slow(cut, at_once)))).is_err());
        prop_assert!(now(skipped_from(&mut FrameReader::new(Slow(cut, at_once)))).is_err());
    }

    #[test]
    fn a_push_comes_back_as_it_was_recorded(batches in batches()) {
        let push = Push::parse(body_of(&push_of(&batches), Kind::Push)).unwrap();
        prop_assert_eq!(push.head, push_head());
        prop_assert_eq!(push.entries.len(), batches.len());
        for (index, (entry, (partition, rows, payload))) in push.entries.iter().zip(&batches).enumerate() {
            prop_assert_eq!(entry.partition, PartitionIndex(*partition));
            prop_assert_eq!(entry.batch.header.batch, BatchId(index as u32));
            prop_assert_eq!(entry.batch.header.rows, *rows);
            prop_assert_eq!(&entry.batch.payload()[..], &payload[..]);
            prop_assert!(entry.batch.verify().is_ok());
        }
    }

    // Invariant 8: a torn frame leaves no partial batch.
    #[test]
    fn a_push_that_is_cut_anywhere_is_no_push(batches in batches(), cut in any::<prop::sample::Index>()) {
        let body = body_of(&push_of(&batches), Kind::Push);
        let cut = cut.index(body.len());
        prop_assert!(Push::parse(body.slice(..cut)).is_err());
    }

    #[test]
    fn one_changed_byte_of_a_batch_is_noticed(payload in proptest::collection::vec(any::<u8>(), 1..300),
                                              position in any::<prop::sample::Index>(), flip in 1_u8..) {
        let header = BatchHeader::of(TaskIndex(1), AttemptNumber(1), BatchId(1), 5, &payload);
        let mut record = [&header.encode()[..], &payload].concat();
        let position = position.index(record.len());
        record[position] ^= flip;
        let noticed = match Batch::split_from(&mut record.into()) {
            Ok(batch) => batch.verify().is_err(),
            Err(_) => true,
        };
        prop_assert!(noticed);
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        let _ = Push::parse(bytes.clone());
        let _ = Acks::parse(bytes.clone());
        let _ = Open::parse(bytes.clone());
        let _ = Loan::parse(bytes.clone());
        let _ = End::parse(bytes.clone());
        let _ = Hello::parse(bytes.clone());
        let _ = Fault::parse(bytes.clone());
        prop_assert!(Batches::new(bytes).count() <= 20);
    }

    #[test]
    fn stored_bytes_are_the_batches_in_their_order(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..10)) {
        let mut stored = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            stored.extend(BatchHeader::of(TaskIndex(0), AttemptNumber(0), BatchId(index as u32), 1, payload).encode());
            stored.extend(payload);
        }
        let read: Vec<_> = Batches::new(stored.into()).map(|batch| batch.unwrap().payload()).collect();
        prop_assert_eq!(read, payloads);
    }
}

/// Around the sizes at which a batch is no longer small and at which it does not fit into the buffer.
#[test]
fn batches_at_the_boundary_between_small_and_large_are_read_as_they_are_parsed() {
    for around in [16 << 10, 64 << 10] {
        let lengths = (around - 2 * BATCH_HEADER_BYTES - 2..around + 2).step_by(1);
        let batches: Vec<_> = lengths.map(|length| (length as u32, 1, vec![length as u8; length])).collect();
        let frame = push_of(&batches);
        let parsed = Push::parse(body_of(&frame, Kind::Push)).unwrap();
        for at_once in [1 << 10, 16 << 10, 64 << 10, usize::MAX] {
            assert_eq!(now(push_from(&mut FrameReader::new(Slow(&frame, at_once)))).unwrap(), parsed);
        }
    }
}

// Invariant 8: what is read belongs to the frame that says so.
#[test]
fn a_batch_that_is_longer_than_its_frame_is_refused_before_it_is_read() {
    let mut stream = push_of(&[(0, 1, vec![1; 20_000]), (1, 1, vec![2; 20_000])]);
    let header_at = stream.len() - 20_000 - BATCH_HEADER_BYTES;
    let header = BatchHeader::parse(&stream[header_at..]).unwrap();
    let longer = BatchHeader { length: 30_000, ..header };
    stream[header_at..header_at + BATCH_HEADER_BYTES].copy_from_slice(&longer.encode());
    // Another frame follows, of which the batch would take a part.
    stream.extend(push_of(&[(2, 1, vec![3; 20_000])]));
    let truncated = FrameError::Truncated { field: "payload" };
    match now(push_from(&mut FrameReader::new(Slow(&stream, usize::MAX)))) {
        Err(ReadFrameError::Frame(error)) => assert_eq!(error, truncated),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_small_frame_survives_the_wire() {
    for purpose in [Purpose::Push, Purpose::Fetch, Purpose::Replicate] {
        let hello = Hello { purpose, incarnation: Incarnation(5), build: "0.1.0+dev".into() };
        assert_eq!(Hello::parse(body_of(&hello.encode(), Kind::Hello)), Ok(hello));
    }
    let welcome = Welcome { frame_bytes_max: 1 << 20 };
    assert_eq!(Welcome::parse(body_of(&welcome.encode(), Kind::Welcome)), Ok(welcome));
    let fault = Fault { refusal: Refusal::OtherIncarnation, message: "was 5".into() };
    assert_eq!(Fault::parse(body_of(&fault.encode(), Kind::Fault)), Ok(fault));
    for (borrows, maps) in [(true, None), (false, Some(TaskIndex(3)..TaskIndex(7)))] {
        let open = Open {
            stream: 1,
            incarnation: Incarnation(5),
            shuffle: shuffle(),
            token: TOKEN,
            partition: PartitionIndex(2),
            epoch: Epoch(1),
            offset: 1 << 40,
            credit: 9,
            borrows,
            maps,
        };
        assert_eq!(Open::parse(body_of(&open.encode(), Kind::Open)), Ok(open));
    }
    let credit = Credit { stream: 1, bytes: 70 };
    assert_eq!(Credit::parse(body_of(&credit.encode(), Kind::Credit)), Ok(credit));
    assert_eq!(Close::parse(body_of(&Close { stream: 8 }.encode(), Kind::Close)), Ok(Close { stream: 8 }));
    let loan = Loan { stream: 1, file: 12, device: 3, inode: 1 << 50, offset: 1 << 40, bytes: 1 << 30 };
    assert_eq!(Loan::parse(body_of(&loan.encode(), Kind::Loan)), Ok(loan));
    let taken = LoanTaken { stream: 8 };
    assert_eq!(LoanTaken::parse(body_of(&taken.encode(), Kind::LoanTaken)), Ok(taken));
    for refused in [None, Some((Refusal::Expired, "gone".to_owned()))] {
        let end = End { stream: 3, refused };
        assert_eq!(End::parse(body_of(&end.encode(), Kind::End)), Ok(end));
    }
    let acks = Acks(vec![
        Answer { request: 1, verdicts: vec![] },
        Answer {
            request: 2,
            verdicts: vec![
                PushVerdict::Accepted,
                PushVerdict::Refused(Refusal::NoRoom),
                PushVerdict::SplitSoon,
            ],
        },
    ]);
    assert_eq!(Acks::parse(body_of(&acks.encode(), Kind::Acks)), Ok(acks));
    let data = [&Data::encode_head(4, 3)[..], b"abc"].concat();
    let parsed = Data::parse(body_of(&data, Kind::Data)).unwrap();
    assert_eq!((parsed.stream, &parsed.batches[..]), (4, &b"abc"[..]));
}

#[test]
fn heads_that_are_not_ours_are_refused() {
    let head = FrameHead { kind: Kind::Push, body_bytes: 1000 }.encode();
    let with = |position: usize, byte: u8| {
        let mut head = head;
        head[position] = byte;
        FrameHead::parse(head, FRAME_BYTES_MAX)
    };
    assert!(matches!(with(7, 0), Err(FrameError::Magic { .. })));
    assert!(matches!(with(5, 9), Err(FrameError::Version { version: 9 })));
    assert!(matches!(with(4, 200), Err(FrameError::Kind { kind: 200 })));
    assert_eq!(FrameHead::parse(head, 999), Err(FrameError::TooLong { length: 1000, max: 999 }));
}

#[test]
fn the_bytes_of_a_batch_header_are_frozen() {
    let header = BatchHeader::of(TaskIndex(1), AttemptNumber(2), BatchId(3), 4, b"penstock");
    assert_eq!(header.encode().iter().map(|byte| format!("{byte:02x}")).collect::<String>(), FROZEN);
}

const FROZEN: &str = "01000000020000000300000004000000080000005deb473453c0acdb";

#[tokio::test]
async fn frames_are_read_back_from_a_stream_that_is_cut_into_small_pieces() {
    let payload = Bytes::from(vec![5; 10_000]);
    let header = BatchHeader::of(TaskIndex(0), AttemptNumber(0), BatchId(0), 1, &payload);
    let mut recorder = PushRecorder::default();
    recorder.add(PartitionIndex(0), Epoch(0), &header, payload.clone());
    recorder.add(PartitionIndex(1), Epoch(0), &header, payload);
    let pieces = recorder.finish(push_head());
    let (mut near, mut far) = tokio::io::duplex(100);
    let write = async {
        write_all(&mut near, &pieces).await.unwrap();
        write_all(&mut near, &[Close { stream: 1 }.encode()]).await.unwrap();
        drop(near);
    };
    let read = async {
        let first = read_frame(&mut far, FRAME_BYTES_MAX).await.unwrap().unwrap();
        assert_eq!(Push::parse(first.body).unwrap().entries.len(), 2);
        assert_eq!(read_frame(&mut far, FRAME_BYTES_MAX).await.unwrap().unwrap().kind, Kind::Close);
        assert!(read_frame(&mut far, FRAME_BYTES_MAX).await.unwrap().is_none());
    };
    futures_join(write, read).await;
}

async fn futures_join(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    tokio::join!(a, b);
}

// Invariant 6: failure before hard split before congested before accepted.
#[test]
fn when_two_copies_disagree_the_worse_verdict_counts() {
    let refused = PushVerdict::Refused;
    let ranks: [&[PushVerdict]; 5] = [
        &[PushVerdict::Accepted],
        &[PushVerdict::SplitSoon],
        &[PushVerdict::Congested],
        &[Refusal::Full, Refusal::Closed, Refusal::NoRoom, Refusal::Stopping].map(refused),
        &[Refusal::ReplicaLost, Refusal::Broken, Refusal::Unknown, Refusal::OtherIncarnation].map(refused),
    ];
    for (rank, better) in ranks.iter().enumerate() {
        for worse in ranks[rank + 1..].iter().copied().flatten() {
            for better in better.iter() {
                assert_eq!(better.or_worse(*worse), *worse);
                assert_eq!(worse.or_worse(*better), *worse);
            }
        }
    }
}

#[test]
fn a_single_verdict_holds_for_a_whole_frame_and_none_means_accepted() {
    let answer = |verdicts: &[PushVerdict]| Answer { request: 0, verdicts: verdicts.to_vec() };
    let full = PushVerdict::Refused(Refusal::Full);
    assert_eq!(answer(&[]).verdict(3), PushVerdict::Accepted);
    assert_eq!(answer(&[full]).verdict(3), full);
    assert_eq!(answer(&[PushVerdict::Accepted, full]).verdict(1), full);
}
