//! What strangers and broken clients can send to the data plane.

use bytes::Bytes;
use futures::FutureExt;
use penstock_common::net::{Network, Stream, Tcp};
use penstock_protocol::{
    build,
    frame::{
        Acks, Answer, BatchHeader, FRAME_BYTES_MAX, Fault, Frame, FrameHead, Hello, Kind, Purpose, PushHead,
        PushRecorder, PushVerdict, Refusal, read_frame, write_all,
    },
    ids::{AttemptNumber, BatchId, Epoch, Incarnation, PartitionIndex, TaskIndex},
    shuffle::CommitVerdict,
    token::JobToken,
};
use penstock_shuffle_service::worker;
use tokio::io::AsyncWriteExt;

use crate::cluster::{Cluster, SHUFFLE, Setup, cluster, winner};

async fn one_worker() -> Cluster {
    cluster(Setup { workers: 1, ..Setup::default() }).await
}

async fn one_connection() -> Cluster {
    let configure = |config: &mut worker::Config| config.connections_max = 1;
    cluster(Setup { workers: 1, configure, ..Setup::default() }).await
}

async fn connect(cluster: &Cluster) -> Stream {
    Tcp.connect(&cluster.workers[0].handle.address.data).await.unwrap()
}

async fn say_hello(cluster: &Cluster, purpose: Purpose) -> Stream {
    let mut stream = unwelcomed(cluster, purpose).await;
    assert_eq!(next(&mut stream).await.unwrap().kind, Kind::Welcome);
    stream
}

/// A hello whose answer is still to be read.
async fn unwelcomed(cluster: &Cluster, purpose: Purpose) -> Stream {
    let mut stream = connect(cluster).await;
    let incarnation = cluster.workers[0].handle.address.incarnation;
    write_all(&mut stream, &[Hello { purpose, incarnation, build: build().into() }.encode()]).await.unwrap();
    stream
}

/// The next frame; none if the worker closed the connection.
async fn next(stream: &mut Stream) -> Option<Frame> {
    read_frame(stream, FRAME_BYTES_MAX).await.unwrap_or(None)
}

async fn refusal(stream: &mut Stream) -> Refusal {
    let frame = next(stream).await.expect("a fault before the end");
    assert_eq!(frame.kind, Kind::Fault);
    let refusal = Fault::parse(frame.body).unwrap().refusal;
    assert_eq!(next(stream).await, None);
    refusal
}

fn push(cluster: &Cluster, batches: u32) -> Vec<u8> {
    push_of(cluster, batches, b"some payload")
}

fn push_of(cluster: &Cluster, batches: u32, payload: &[u8]) -> Vec<u8> {
    let mut recorder = PushRecorder::default();
    for batch in 0..batches {
        let header = BatchHeader::of(TaskIndex(0), AttemptNumber(0), BatchId(batch), 1, payload);
        recorder.add(PartitionIndex(0), Epoch(0), &header, Bytes::copy_from_slice(payload));
    }
    let incarnation = cluster.workers[0].handle.address.incarnation;
    recorder.finish(PushHead { request: 77, incarnation, shuffle: SHUFFLE, token: JobToken::NONE }).concat()
}

async fn committed(cluster: &Cluster, target: &penstock_protocol::shuffle::ShuffleTarget) -> CommitVerdict {
    cluster.commit(target, &[winner(0, 0)]).await.remove(0).1
}

#[tokio::test]
async fn a_stranger_gets_a_fault_and_the_worker_goes_on() {
    let cluster = one_worker().await;
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0; 64], &[255; 64]] {
        let mut stream = connect(&cluster).await;
        stream.write_all(garbage).await.unwrap();
        assert_eq!(refusal(&mut stream).await, Refusal::BadFrame);
    }
    say_hello(&cluster, Purpose::Push).await;
}

#[tokio::test]
async fn garbage_after_the_hello_ends_only_that_connection() {
    let cluster = one_worker().await;
    let mut bystander = say_hello(&cluster, Purpose::Push).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    for purpose in [Purpose::Push, Purpose::Fetch] {
        let mut stream = say_hello(&cluster, purpose).await;
        stream.write_all(&[7; 100]).await.unwrap();
        assert_eq!(refusal(&mut stream).await, Refusal::BadFrame);
        // A known frame in the wrong place.
        let mut stream = say_hello(&cluster, purpose).await;
        write_all(&mut stream, &[Acks(vec![]).encode()]).await.unwrap();
        assert_eq!(refusal(&mut stream).await, Refusal::BadFrame);
    }
    bystander.write_all(&push(&cluster, 1)).await.unwrap();
    let acks = Acks::parse(next(&mut bystander).await.unwrap().body).unwrap();
    assert_eq!(acks, Acks(vec![Answer { request: 77, verdicts: vec![] }]));
    assert!(matches!(committed(&cluster, &target).await, CommitVerdict::Committed { .. }));
}

// Invariant 8: a torn frame leaves no partial batch, not even the whole batches at its front.
#[tokio::test]
async fn a_frame_that_is_cut_off_stores_nothing() {
    let cluster = one_worker().await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let frame = push(&cluster, 3);
    for length in [1, 7, 8, 20, 51, 52, 60, 100, frame.len() - 1] {
        let mut stream = say_hello(&cluster, Purpose::Push).await;
        stream.write_all(&frame[..length]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(next(&mut stream).await, None);
    }
    assert_eq!(committed(&cluster, &target).await, CommitVerdict::Empty);
}

// Invariant 8, of a batch that is read straight into its own memory.
#[tokio::test]
async fn a_frame_that_is_cut_in_a_large_batch_stores_nothing() {
    let cluster = one_worker().await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let frame = push_of(&cluster, 3, &[7; 100_000]);
    for missing in [1, 50_000, 99_999, 150_000] {
        let mut stream = say_hello(&cluster, Purpose::Push).await;
        stream.write_all(&frame[..frame.len() - missing]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(next(&mut stream).await, None);
    }
    assert_eq!(committed(&cluster, &target).await, CommitVerdict::Empty);
}

// Invariant 8: one bit of a large batch is enough, and its neighbours are none of its business.
#[tokio::test]
async fn a_large_payload_that_does_not_match_its_checksum_is_refused_alone() {
    let cluster = one_worker().await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let mut frame = push_of(&cluster, 2, &[7; 100_000]);
    let in_the_last = frame.len() - 60_000;
    frame[in_the_last] ^= 1 << 3;
    let mut stream = say_hello(&cluster, Purpose::Push).await;
    stream.write_all(&frame).await.unwrap();
    let acks = Acks::parse(next(&mut stream).await.unwrap().body).unwrap();
    let verdicts = vec![PushVerdict::Accepted, PushVerdict::Refused(Refusal::Corrupt)];
    assert_eq!(acks, Acks(vec![Answer { request: 77, verdicts }]));
    assert_eq!(committed(&cluster, &target).await, CommitVerdict::Committed { stored_bytes: 28 + 100_000 });
}

// Invariant 8 and the worker's check of each payload.
#[tokio::test]
async fn a_payload_that_does_not_match_its_checksum_is_refused_alone() {
    let cluster = one_worker().await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let mut frame = push(&cluster, 3);
    *frame.last_mut().unwrap() ^= 1;
    let mut stream = say_hello(&cluster, Purpose::Push).await;
    stream.write_all(&frame).await.unwrap();
    let acks = Acks::parse(next(&mut stream).await.unwrap().body).unwrap();
    let verdicts = vec![PushVerdict::Accepted, PushVerdict::Accepted, PushVerdict::Refused(Refusal::Corrupt)];
    assert_eq!(acks, Acks(vec![Answer { request: 77, verdicts }]));
    assert_eq!(committed(&cluster, &target).await, CommitVerdict::Committed { stored_bytes: 2 * (28 + 12) });
}

#[tokio::test]
async fn a_frame_longer_than_announced_is_refused_before_it_takes_memory() {
    let cluster = one_worker().await;
    let mut stream = say_hello(&cluster, Purpose::Push).await;
    let head = FrameHead { kind: Kind::Push, body_bytes: FRAME_BYTES_MAX + 1 };
    stream.write_all(&head.encode()).await.unwrap();
    assert_eq!(refusal(&mut stream).await, Refusal::BadFrame);
}

#[tokio::test]
async fn another_program_of_the_same_release_is_welcome() {
    let cluster = one_worker().await;
    let incarnation = cluster.workers[0].handle.address.incarnation;
    let build = format!("{}+a program with the client library", env!("CARGO_PKG_VERSION"));
    for purpose in [Purpose::Push, Purpose::Fetch] {
        let mut stream = connect(&cluster).await;
        let hello = Hello { purpose, incarnation, build: build.clone() };
        write_all(&mut stream, &[hello.encode()]).await.unwrap();
        let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
        assert_eq!(answer.kind, Kind::Welcome);
    }
}

// Invariant 16.
#[tokio::test]
async fn a_client_that_means_another_life_or_release_is_turned_away() {
    let cluster = one_worker().await;
    let incarnation = cluster.workers[0].handle.address.incarnation;
    let cases = [
        (Incarnation(incarnation.0 - 1), build(), Refusal::OtherIncarnation),
        (incarnation, "0.0.0+other", Refusal::OtherBuild),
    ];
    for (incarnation, build, expected) in cases {
        for purpose in [Purpose::Push, Purpose::Fetch] {
            let mut stream = connect(&cluster).await;
            let hello = Hello { purpose, incarnation, build: build.into() };
            write_all(&mut stream, &[hello.encode()]).await.unwrap();
            assert_eq!(refusal(&mut stream).await, expected);
        }
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away_until_it_is_raised() {
    let cluster = one_connection().await;
    let _first = say_hello(&cluster, Purpose::Push).await;
    assert_eq!(refusal(&mut unwelcomed(&cluster, Purpose::Push).await).await, Refusal::NoRoom);
    let worker = &cluster.workers[0];
    let raised = worker::Config { connections_max: 2, ..worker.config.clone() };
    assert_eq!(worker.handle.reload(raised).unwrap().changed, ["connections_max"]);
    say_hello(&cluster, Purpose::Push).await;
}

#[tokio::test]
async fn those_who_say_nothing_take_no_room_from_others_and_are_no_more_than_a_few() {
    let cluster = one_connection().await;
    let mut strangers = Vec::new();
    for _ in 0..258 {
        strangers.push(connect(&cluster).await);
    }
    let mut client = say_hello(&cluster, Purpose::Push).await;
    // Whoever was silent for longest made room.
    for stranger in &mut strangers[..2] {
        assert_eq!(refusal(stranger).await, Refusal::NoRoom);
    }
    assert!(next(&mut strangers[3]).now_or_never().is_none(), "it may still say hello");
    write_all(&mut client, &[Bytes::from(push(&cluster, 1))]).await.unwrap();
    assert_eq!(next(&mut client).await.unwrap().kind, Kind::Acks);
}
