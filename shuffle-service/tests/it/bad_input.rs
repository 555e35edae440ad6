//! Bytes that mean no good, after a proper hello: a typed answer, one line in the log, a counter, and nothing that stays.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use penstock_common::{
    grpc,
    net::{Network, Stream, Tcp},
};
use penstock_protocol::{
    build,
    frame::{
        Acks, Answer, BatchHeader, Close, Credit, End, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, Fault, Frame,
        Hello, Kind, Open, Purpose, PushHead, PushRecorder, PushVerdict, Refusal, read_frame, write_all,
    },
    ids::{AttemptNumber, BatchId, Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, TaskIndex},
    pb::{self, shuffle_master_client::ShuffleMasterClient},
    status::{ErrorCode, RpcError},
    token::{ClusterSecret, JobToken},
};
use penstock_shuffle_client::owner::{Owner, OwnerError};
use penstock_shuffle_service::master;
use uuid::Uuid;

use crate::{
    cluster::{Cluster, SHUFFLE, Setup, cluster, eventually, payload, shuffle, winner},
    watch::Watch,
};

const SECRET: &str = "a secret of this test alone";

fn secret() -> ClusterSecret {
    ClusterSecret::parse(SECRET.as_bytes()).unwrap()
}

async fn guarded() -> Cluster {
    cluster(Setup { workers: 1, secret: Some(SECRET), ..Setup::default() }).await
}

async fn say_hello(cluster: &Cluster, purpose: Purpose) -> Stream {
    let address = &cluster.workers[0].handle.address;
    let mut stream = Tcp.connect(&address.data).await.unwrap();
    let hello = Hello { purpose, incarnation: address.incarnation, build: build().into() };
    write_all(&mut stream, &[hello.encode()]).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().kind, Kind::Welcome);
    stream
}

async fn next(stream: &mut Stream) -> Option<Frame> {
    read_frame(stream, FRAME_BYTES_MAX).await.unwrap_or(None)
}

fn life(cluster: &Cluster) -> Incarnation {
    cluster.workers[0].handle.address.incarnation
}

async fn push(
    cluster: &Cluster,
    incarnation: Incarnation,
    id: ShuffleId,
    partition: u32,
    token: JobToken,
) -> Vec<PushVerdict> {
    let mut recorder = PushRecorder::default();
    let header = BatchHeader::of(TaskIndex(0), AttemptNumber(0), BatchId(0), 1, b"some payload");
    recorder.add(PartitionIndex(partition), Epoch(0), &header, "some payload".into());
    let frame = recorder.finish(PushHead { request: 5, incarnation, shuffle: id, token });
    let mut stream = say_hello(cluster, Purpose::Push).await;
    write_all(&mut stream, &frame).await.unwrap();
    let Answer { request: 5, verdicts } =
        Acks::parse(next(&mut stream).await.unwrap().body).unwrap().0.remove(0)
    else {
        panic!("an answer to another request")
    };
    verdicts
}

fn open(cluster: &Cluster) -> Open {
    Open {
        stream: 9,
        incarnation: life(cluster),
        shuffle: SHUFFLE,
        token: secret().job_token(SHUFFLE.job),
        partition: PartitionIndex(0),
        epoch: Epoch(0),
        offset: 0,
        credit: 1 << 20,
        borrows: false,
        maps: None,
    }
}

/// How the worker ends a stream that was opened with `open`.
async fn fetch(cluster: &Cluster, open: Open) -> Option<Refusal> {
    let mut stream = say_hello(cluster, Purpose::Fetch).await;
    write_all(&mut stream, &[open.encode()]).await.unwrap();
    loop {
        let frame = next(&mut stream).await.expect("an end");
        if frame.kind == Kind::End {
            return End::parse(frame.body).unwrap().refused.map(|(refusal, _)| refusal);
        }
    }
}

async fn stored(cluster: &Cluster) {
    let target = cluster.reserve(SHUFFLE, 2).await;
    cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 1000))]).await.unwrap();
    cluster.commit(&target, &[winner(0, 0)]).await;
}

#[tokio::test]
async fn every_push_that_means_something_else_gets_its_own_refusal() {
    let cluster = guarded().await;
    cluster.reserve(SHUFFLE, 1).await;
    let other = ShuffleId { job: JobId(Uuid::from_u128(77)), ..SHUFFLE };
    let (ours, others) = (secret().job_token(SHUFFLE.job), secret().job_token(other.job));
    let now = life(&cluster);
    let cases = [
        ("no token", now, SHUFFLE, 0, JobToken::NONE, Refusal::Denied),
        ("a wrong token", now, SHUFFLE, 0, JobToken::from_bytes([1; 16]), Refusal::Denied),
        ("the token of another job", now, SHUFFLE, 0, others, Refusal::Denied),
        ("another job with our token", now, other, 0, ours, Refusal::Denied),
        ("a job that was never reserved", now, other, 0, others, Refusal::Unknown),
        ("an unknown partition", now, SHUFFLE, u32::MAX, ours, Refusal::Unknown),
        ("an unknown exchange", now, shuffle(9), 0, ours, Refusal::Unknown),
        ("a former life", Incarnation(now.0 - 1), SHUFFLE, 0, ours, Refusal::OtherIncarnation),
        ("a later life", Incarnation(u64::MAX), SHUFFLE, 0, ours, Refusal::OtherIncarnation),
    ];
    let mut told = BTreeSet::new();
    for (what, incarnation, id, partition, token, expected) in cases {
        let watch = Watch::start();
        for _ in 0..2 {
            let verdicts = push(&cluster, incarnation, id, partition, token).await;
            assert_eq!(verdicts, [PushVerdict::Refused(expected)], "{what}");
        }
        let counted = watch.counter("penstock_shuffle_refused_batches_total", &format!("{expected:?}"));
        assert_eq!(counted, 2, "{what}");
        let lines = usize::from(told.insert((id, expected as u8)));
        assert_eq!(watch.warnings().len(), lines, "{what}: {:?}", watch.warnings());
        assert!(!watch.everything_logged().contains(SECRET));
    }
    assert_eq!(push(&cluster, now, SHUFFLE, 0, ours).await, []);
}

#[tokio::test]
async fn every_fetch_that_means_something_else_gets_its_own_refusal() {
    let cluster = guarded().await;
    stored(&cluster).await;
    let fine = open(&cluster);
    let maps = |first, last| Open { maps: Some(TaskIndex(first)..TaskIndex(last)), ..fine.clone() };
    let cases = [
        ("no token", Open { token: JobToken::NONE, ..fine.clone() }, Refusal::Denied),
        ("an unknown partition", Open { partition: PartitionIndex(7), ..fine.clone() }, Refusal::Unknown),
        ("an unknown epoch", Open { epoch: Epoch(u32::MAX), ..fine.clone() }, Refusal::Unknown),
        ("a former life", Open { incarnation: Incarnation(1), ..fine.clone() }, Refusal::OtherIncarnation),
        ("an offset inside of a batch", Open { offset: 1, ..fine.clone() }, Refusal::BadFrame),
        ("an offset after the end", Open { offset: 1_000_000, ..fine.clone() }, Refusal::BadFrame),
        ("an offset that would be negative", Open { offset: u64::MAX, ..fine.clone() }, Refusal::BadFrame),
        ("the last map before the first", maps(3, 2), Refusal::BadFrame),
    ];
    let mut told = BTreeSet::new();
    for (what, open, expected) in cases {
        let watch = Watch::start();
        for _ in 0..2 {
            assert_eq!(fetch(&cluster, open.clone()).await, Some(expected), "{what}");
        }
        let counted = watch.counter("penstock_shuffle_refused_streams_total", &format!("{expected:?}"));
        assert_eq!(counted, 2, "{what}");
        let lines = usize::from(told.insert(expected as u8));
        assert_eq!(watch.warnings().len(), lines, "{what}: {:?}", watch.warnings());
    }
    assert_eq!(fetch(&cluster, fine.clone()).await, None);
    assert_eq!(fetch(&cluster, maps(0, u32::MAX)).await, None, "all there may be");
    assert_eq!(fetch(&cluster, Open { credit: u32::MAX, ..fine }).await, None);
}

#[tokio::test]
async fn requests_about_streams_that_do_not_exist_are_ignored_and_doubled_credit_does_not_overflow() {
    let cluster = guarded().await;
    stored(&cluster).await;
    let mut stream = say_hello(&cluster, Purpose::Fetch).await;
    let credit = |stream| Credit { stream, bytes: u32::MAX }.encode();
    let mut frames = vec![credit(4), Close { stream: 4 }.encode()];
    frames.push(Open { credit: 0, ..open(&cluster) }.encode());
    frames.extend((0..10).map(|_| credit(9)));
    write_all(&mut stream, &frames).await.unwrap();
    let mut kinds = Vec::new();
    while kinds.last() != Some(&Kind::End) {
        kinds.push(next(&mut stream).await.unwrap().kind);
    }
    assert_eq!(kinds, [Kind::Data, Kind::End]);
}

/// What ends a whole connection: one line each, however much more garbage comes.
#[tokio::test]
async fn garbage_ends_its_connection_with_one_line_in_the_log() {
    let cluster = guarded().await;
    let long = (64_u32 << 20).to_le_bytes();
    let mut oversized = Close { stream: 1 }.encode().to_vec();
    oversized[..4].copy_from_slice(&long);
    let mut version = Close { stream: 1 }.encode().to_vec();
    version[5] = 200;
    let torn = [&[16, 0, 0, 0], &Close { stream: 1 }.encode()[4..FRAME_HEAD_BYTES], &[0; 16]].concat();
    let cases = [
        ("oversized", oversized),
        ("unknown version", version),
        ("trailing bytes", torn),
        ("noise", vec![0x5a; 70_000]),
    ];
    for purpose in [Purpose::Push, Purpose::Fetch] {
        for (what, bytes) in &cases {
            let watch = Watch::start();
            let mut stream = say_hello(&cluster, purpose).await;
            // The worker may have closed the connection before it took everything.
            let _ = write_all(&mut stream, &[Bytes::from(bytes.clone())]).await;
            while next(&mut stream).await.is_some() {}
            eventually("the connection is logged", async || !watch.warnings().is_empty()).await;
            assert_eq!(watch.warnings().len(), 1, "{what}: {:?}", watch.warnings());
            assert_eq!(watch.counter("penstock_shuffle_faulted_connections_total", "BadFrame"), 1, "{what}");
        }
    }
    stored(&cluster).await;
}

/// Before it is known who speaks.
#[tokio::test]
async fn who_is_turned_away_at_the_door_leaves_one_line_and_a_count() {
    let cluster = guarded().await;
    let address = cluster.workers[0].handle.address.clone();
    let hello = |incarnation: Incarnation, build: &str| {
        Hello { purpose: Purpose::Push, incarnation, build: build.into() }.encode().to_vec()
    };
    let now = life(&cluster);
    let cases = [
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Refusal::BadFrame),
        ("a frame too early", open(&cluster).encode().to_vec(), Refusal::BadFrame),
        ("another build", hello(now, "0.0.0+other"), Refusal::OtherBuild),
        ("a former life", hello(Incarnation(now.0 - 1), build()), Refusal::OtherIncarnation),
    ];
    for (what, bytes, expected) in cases {
        let watch = Watch::start();
        let mut stream = Tcp.connect(&address.data).await.unwrap();
        write_all(&mut stream, &[Bytes::from(bytes)]).await.unwrap();
        let frame = next(&mut stream).await.expect("an answer");
        assert_eq!(Fault::parse(frame.body).unwrap().refusal, expected, "{what}");
        assert!(next(&mut stream).await.is_none(), "{what}");
        eventually("it is logged", async || !watch.warnings().is_empty()).await;
        assert_eq!(watch.warnings().len(), 1, "{what}: {:?}", watch.warnings());
        let counted = watch.counter("penstock_shuffle_faulted_connections_total", &format!("{expected:?}"));
        assert_eq!(counted, 1, "{what}");
    }
}

#[tokio::test]
async fn control_calls_without_the_secret_are_refused() {
    let cluster = guarded().await;
    let masters = vec![cluster.master.control.to_string()];
    let stranger = || Owner::new(Arc::new(Tcp), masters.clone());
    let wrong = ClusterSecret::parse(b"a secret of somebody else").unwrap();
    let cases =
        [("no control token", stranger()), ("a wrong control token", stranger().with_secret(Some(&wrong)))];
    let watch = Watch::start();
    for (what, stranger) in cases {
        for tries in 1..=3 {
            let error = stranger.reserve(SHUFFLE, 1).await.unwrap_err().to_string();
            assert!(error.contains(what), "{tries}: {error}");
        }
        assert_eq!(watch.total("penstock_shuffle_denied_calls_total"), 3, "{what}");
        assert_eq!(watch.warnings().len(), 1, "{what}: {:?}", watch.warnings());
    }
    cluster.reserve(SHUFFLE, 1).await;
}

#[tokio::test]
async fn placements_that_are_refused_are_counted_and_each_job_is_told_once() {
    let configure_master = |config: &mut master::Config| config.job_locations_max = 2;
    let cluster = cluster(Setup { workers: 1, configure_master, ..Setup::default() }).await;
    let watch = Watch::start();
    for _ in 0..3 {
        let error = cluster.owner.reserve(SHUFFLE, 3).await.unwrap_err();
        assert!(matches!(error, OwnerError::OverQuota { .. }), "{error}");
    }
    let refused = "penstock_shuffle_refused_placements_total";
    assert_eq!(watch.counter(refused, "quota_exceeded"), 3);
    assert_eq!(watch.warnings().len(), 1, "{:?}", watch.warnings());
    assert!(cluster.workers[0].disk.files().is_empty());
}

#[tokio::test]
async fn a_client_without_the_token_of_a_job_fails_by_name() {
    use penstock_common::lifecycle::Tasks;
    use penstock_shuffle_client::{ClientOptions, PushError, ShuffleClient};
    let cluster = guarded().await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let tasks = Tasks::new("stranger");
    let client = ShuffleClient::new(Arc::new(Tcp), ClientOptions::default(), tasks.clone());
    let push = async || {
        let mut writer = client.writer(crate::cluster::attempt(0, 0), target.clone()).await.unwrap();
        writer.push(PartitionIndex(0), 1, Bytes::from_static(b"x")).await?;
        writer.finish().await
    };
    let error = push().await.unwrap_err();
    assert!(matches!(&error, PushError::Unavailable { reason, .. } if reason.contains("token")), "{error}");
    client.grant(SHUFFLE.job, secret().job_token(SHUFFLE.job));
    push().await.unwrap();
    tasks.stop_token().cancel();
}

// Whoever asks again and again is told each time, and the log once.
#[tokio::test]
async fn a_placement_without_any_worker_says_what_to_do_is_counted_and_logged_once_a_job() {
    let cluster = cluster(Setup { workers: 0, ..Setup::default() }).await;
    let watch = Watch::start();
    let channel = grpc::channel(Arc::new(Tcp), &cluster.master.control.to_string());
    let mut master = ShuffleMasterClient::new(channel);
    for _ in 0..3 {
        let request =
            pb::PlaceRequest { shuffle: Some(SHUFFLE.into()), partitions: vec![0], ..Default::default() };
        let status = master.place(request).await.unwrap_err();
        assert_eq!(RpcError::from(&status).code, ErrorCode::NoRoom);
        assert!(status.message().contains("start more, or see `penstock shuffle workers`"), "{status}");
    }
    assert_eq!(watch.counter("penstock_shuffle_refused_placements_total", "no_room"), 3);
    assert_eq!(watch.warnings().len(), 1, "{:?}", watch.warnings());
}
