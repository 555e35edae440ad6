//! The fuzzer's kept bytes as a test, as they are and with small changes. `make fuzz` looks for more.
//!
//! `PENSTOCK_BLESS=1` writes the samples that the corpus starts from, where they are missing.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use penstock_protocol::{
    frame::{
        Acks, Answer, BatchHeader, Close, Credit, Data, End, Fault, Hello, Loan, LoanTaken, Open, Purpose,
        PushHead, PushRecorder, PushVerdict, Refusal, Welcome,
    },
    ids::{AttemptNumber, BatchId, Epoch, Incarnation, PartitionIndex, TaskIndex},
    pb,
    token::JobToken,
};
use prost::Message;

use crate::cluster::SHUFFLE;

#[path = "../../fuzz/decoders.rs"]
mod decoders;

type Decode = fn(&[u8]);

const TARGETS: [(&str, Decode); 3] =
    [("frame", decoders::frame), ("batches", decoders::batches), ("control", decoders::control)];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    if std::env::var_os("PENSTOCK_BLESS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in samples(target) {
            let file = folder.join(name);
            if !file.exists() {
                fs::write(file, bytes).unwrap();
            }
        }
    }
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn what_the_fuzzer_kept_is_understood_or_refused() {
    for (target, decode) in TARGETS {
        let corpus = corpus(target);
        assert!(corpus.len() >= 5, "{target} has {} files", corpus.len());
        corpus.iter().for_each(|bytes| decode(bytes));
    }
}

#[test]
fn what_the_fuzzer_kept_is_understood_or_refused_with_a_few_bytes_changed() {
    for (target, decode) in TARGETS {
        for (index, bytes) in corpus(target).into_iter().enumerate() {
            let mut random = index as u64 + 1;
            let mut next = move |below: usize| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) as usize % below.max(1)
            };
            for _ in 0..200 {
                let mut changed = bytes.clone();
                for _ in 0..=next(4) {
                    let at = next(changed.len());
                    match next(4) {
                        0 => changed.truncate(at),
                        1 => changed.insert(at, next(256) as u8),
                        2 if at < changed.len() => changed[at] = [0, 1, 0x7f, 0x80, 0xff][next(5)],
                        _ if at < changed.len() => changed[at] ^= 1 << next(8),
                        _ => {}
                    }
                }
                decode(&changed);
            }
        }
    }
}

fn samples(target: &str) -> Vec<(&'static str, Vec<u8>)> {
    match target {
        "frame" => frames(),
        "batches" => batches(),
        _ => control(),
    }
}

fn record(batch: u32, payload: &[u8]) -> Vec<u8> {
    let header = BatchHeader::of(TaskIndex(3), AttemptNumber(1), BatchId(batch), 9, payload);
    [&header.encode()[..], payload].concat()
}

fn batches() -> Vec<(&'static str, Vec<u8>)> {
    let whole = [record(0, b"some payload"), record(1, b""), record(2, &[5; 300])].concat();
    vec![
        ("whole", whole.clone()),
        ("torn", whole[..whole.len() - 1].to_vec()),
        ("header_only", record(7, b"")),
        ("damaged_payload", [record(0, b"some")[..30].to_vec(), b"XX".to_vec()].concat()),
        ("damaged_header", [vec![1], record(0, b"some")].concat()),
        ("empty", Vec::new()),
    ]
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let mut recorder = PushRecorder::default();
    for (batch, payload) in [&b"some payload"[..], &[], &[9; 100]].into_iter().enumerate() {
        let header = BatchHeader::of(TaskIndex(1), AttemptNumber(2), BatchId(batch as u32), 3, payload);
        recorder.add(PartitionIndex(batch as u32), Epoch(1), &header, Bytes::copy_from_slice(payload));
    }
    let token = JobToken::from_bytes([3; 16]);
    let push = recorder.finish(PushHead { request: 7, incarnation: Incarnation(5), shuffle: SHUFFLE, token });
    let open = Open {
        stream: 1,
        incarnation: Incarnation(5),
        shuffle: SHUFFLE,
        token,
        partition: PartitionIndex(2),
        epoch: Epoch(0),
        offset: u64::MAX,
        credit: u32::MAX,
        borrows: true,
        maps: None,
    };
    let verdicts = vec![PushVerdict::Accepted, PushVerdict::Refused(Refusal::NoRoom)];
    let answers = vec![Answer { request: 1, verdicts: vec![] }, Answer { request: 2, verdicts }];
    let stored = record(0, b"some payload");
    let fault = Fault { refusal: Refusal::Denied, message: "no".into() };
    vec![
        (
            "hello",
            Hello { purpose: Purpose::Push, incarnation: Incarnation(5), build: "a build".into() }
                .encode()
                .to_vec(),
        ),
        ("welcome", Welcome { frame_bytes_max: 1 << 20 }.encode().to_vec()),
        ("fault", fault.encode().to_vec()),
        ("push", push.concat()),
        ("acks", Acks(answers).encode().to_vec()),
        ("open", open.encode().to_vec()),
        ("data", [&Data::encode_head(1, stored.len())[..], &stored].concat()),
        (
            "credit_and_close",
            [Credit { stream: 1, bytes: 5 }.encode(), Close { stream: 1 }.encode()].concat(),
        ),
        (
            "loan_and_taken",
            [
                Loan { stream: 1, file: 9, device: 2, inode: 3, offset: u64::MAX, bytes: u64::MAX }.encode(),
                LoanTaken { stream: 1 }.encode(),
            ]
            .concat(),
        ),
        ("end", End { stream: 1, refused: None }.encode().to_vec()),
        (
            "end_refused",
            End { stream: 1, refused: Some((Refusal::Expired, "gone".into())) }.encode().to_vec(),
        ),
    ]
}

fn control() -> Vec<(&'static str, Vec<u8>)> {
    let shuffle = Some(pb::ShuffleId::from(SHUFFLE));
    let address = pb::WorkerAddress {
        worker: "w0".into(),
        incarnation: 5,
        control: "127.0.0.1:1".into(),
        data: "127.0.0.1:2".into(),
    };
    let location = pb::LocationKey { partition: 1, epoch: 0 };
    let message = |kind: u8, message: Vec<u8>| [vec![kind], message].concat();
    let target = pb::ShuffleTarget {
        shuffle: shuffle.clone(),
        workers: vec![address.clone()],
        locations: vec![pb::PlacedPartition { partition: 0, worker: 0, ..Default::default() }],
    };
    let heartbeat = pb::WorkerHeartbeat {
        build: "a build".into(),
        address: Some(address),
        jobs: vec![Bytes::from_static(&[1; 16])],
        ..Default::default()
    };
    let place = pb::PlaceRequest { shuffle: shuffle.clone(), partitions: vec![0, 1], ..Default::default() };
    let reserve = pb::ReserveRequest {
        incarnation: 5,
        shuffle: shuffle.clone(),
        locations: vec![location],
        ..Default::default()
    };
    let commit = pb::CommitRequest {
        incarnation: 5,
        shuffle,
        locations: vec![location],
        winners: vec![pb::Winner { map: 0, attempt: 1 }],
        ..Default::default()
    };
    let release = pb::ReleaseRequest {
        incarnation: 5,
        what: Some(pb::release_request::What::Job(Bytes::from_static(&[1; 16]))),
    };
    vec![
        ("heartbeat", message(0, heartbeat.encode_to_vec())),
        ("place", message(1, place.encode_to_vec())),
        ("placed", message(2, pb::PlaceAnswer { target: Some(target) }.encode_to_vec())),
        ("reserve", message(3, reserve.encode_to_vec())),
        ("commit", message(4, commit.encode_to_vec())),
        ("release", message(6, release.encode_to_vec())),
        ("no_message", vec![9]),
    ]
}
