//! Workers that say nothing: those that hang are left for the second copy, and those that are slow are not.
//!
//! Where nothing would end without it, nothing else ends either: the long timeouts are hours here.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{TryStreamExt, poll};
use penstock_common::net::{Network, Stream, Tcp};
use penstock_protocol::{
    build,
    effort::FetchEffort,
    frame::{
        Acks, Data, FRAME_BYTES_MAX, Frame, FrameHead, Hello, Kind, Open, Purpose, read_frame, write_all,
    },
    ids::{Epoch, PartitionIndex, ShuffleId},
    shuffle::{CommitVerdict, Location, MapOutput},
    token::JobToken,
};
use penstock_shuffle_client::{
    ClientOptions,
    owner::{Owner, sources},
};
use penstock_shuffle_service::{
    disk::{Fault, Operation},
    worker,
};
use tokio::io::AsyncWriteExt;

use crate::{
    cluster::{Cluster, SHUFFLE, Setup, cluster, eventually, payload, shuffle, winner},
    network::StandingNetwork,
};

const PARTITIONS: u32 = 6;
const HOURS: u64 = 10_000_000;

fn setup(network: &StandingNetwork, copies: u32) -> Setup {
    let options = ClientOptions {
        silence_ms: 500,
        answer_timeout_ms: HOURS,
        frame_bytes: 1,
        fetch_stream_bytes_max: 16 << 10,
        ..ClientOptions::default()
    };
    let configure = |config: &mut worker::Config| config.silence_ms = 500;
    Setup { network: Arc::new(network.clone()), options, configure, copies, ..Setup::replicated(3) }
}

fn batches(count: u32) -> impl Iterator<Item = (u32, Bytes)> {
    (0..count).map(|batch| (batch % PARTITIONS, payload(0, batch % PARTITIONS, batch, 3000)))
}

fn data_of(cluster: &Cluster, worker: usize) -> &str {
    &cluster.workers[worker].handle.address.data
}

async fn read_all(
    cluster: &Cluster,
    verdicts: &[(Location, CommitVerdict)],
    outputs: &[MapOutput],
) -> (usize, Arc<FetchEffort>) {
    let effort = Arc::new(FetchEffort::default());
    let mut batches = 0;
    for source in sources(SHUFFLE, verdicts, outputs).unwrap() {
        let read = cluster.client.read_counted(SHUFFLE, [winner(0, 0)].into(), source, Arc::clone(&effort));
        batches += read.try_collect::<Vec<_>>().await.unwrap().len();
    }
    (batches, effort)
}

// Invariants 7 and 18: what a silent worker was sent is sent again elsewhere, and counts once.
#[tokio::test]
async fn a_writer_leaves_a_worker_that_stands_still() {
    for victim in [0, 1, 2] {
        let network = StandingNetwork::default();
        let cluster = cluster(setup(&network, 2)).await;
        let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
        let mut writer = cluster.writer(&target, 0, 0).await;
        for (index, (partition, payload)) in batches(120).enumerate() {
            if index == 60 {
                network.0.stop(data_of(&cluster, victim));
            }
            writer.push(PartitionIndex(partition), 1, payload).await.unwrap();
        }
        let output = writer.finish().await.unwrap();
        network.0.go();
        let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
        assert_eq!(read_all(&cluster, &verdicts, &[output]).await.0, 120);
    }
}

// One silence for all of them: only some had something on its way, and whoever left it before has more patience.
#[tokio::test]
async fn a_writer_that_leaves_a_worker_leaves_it_with_all_partitions() {
    let network = StandingNetwork::default();
    let setup = setup(&network, 2);
    // So that the second batch waits for the end of the first one.
    let options = ClientOptions { push_window_requests: 1, ..setup.options };
    let cluster = cluster(Setup { options, ..setup }).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let own = &cluster.workers[0].handle.address;
    let has_copy = |location: &&Location| location.workers().any(|worker| **worker == *own);
    let primary: Vec<_> = target.locations.iter().filter(|location| *location.worker == *own).collect();
    assert!(primary.len() > 1, "{target:?}");
    network.0.stop(&own.data);
    let mut writer = cluster.writer(&target, 0, 0).await;
    for (batch, location) in (0..).zip(&primary) {
        writer.push(location.partition, 1, payload(0, location.partition.0, batch, 3000)).await.unwrap();
    }
    writer.finish().await.unwrap();
    assert_eq!(network.0.tries(&own.data), 1);
    let epochs = cluster.ledger.all(SHUFFLE).unwrap().locations;
    assert_eq!(epochs.iter().filter(has_copy).count(), target.locations.iter().filter(has_copy).count());
    assert_eq!(epochs.len(), target.locations.len() + target.locations.iter().filter(has_copy).count());
}

#[tokio::test]
async fn a_reader_turns_to_the_other_copy_and_the_next_ones_begin_there() {
    let network = StandingNetwork::default();
    let cluster = cluster(setup(&network, 2)).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let output = cluster.write(&target, 0, 0, batches(120)).await.unwrap();
    let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
    network.0.stop(data_of(&cluster, 0));
    let (read, effort) = read_all(&cluster, &verdicts, &[output]).await;
    assert_eq!((read, effort.read_failovers.get()), (120, 1));
}

// With one copy there is nowhere to go, and others on the same connection who have a choice change nothing of that.
#[tokio::test]
async fn what_is_on_one_worker_only_is_waited_for() {
    let network = StandingNetwork::default();
    let cluster = cluster(setup(&network, 1)).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let two_copies = cluster.owner_at(&[&cluster.masters[0]]).with_copies(2);
    let beside = Arc::new(two_copies.reserve(shuffle(1), PARTITIONS).await.unwrap());
    network.0.stop(data_of(&cluster, 0));
    let mut write = pin!(cluster.write(&target, 0, 0, batches(60)));
    assert!(poll!(write.as_mut()).is_pending());
    tokio::select! {
        biased;
        written = &mut write => panic!("{written:?} although a worker stands still"),
        // Nobody knows of a new epoch for this one: that is how one sees that it has left.
        left = cluster.write(&beside, 0, 0, batches(60)) => drop(left.unwrap_err()),
    }
    network.0.go();
    let output = write.await.unwrap();
    assert_eq!(cluster.ledger.all(SHUFFLE).unwrap(), *target, "no new epoch");
    let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
    assert_eq!(read_all(&cluster, &verdicts, &[output]).await.0, 60);
}

async fn connect(cluster: &Cluster, purpose: Purpose) -> Stream {
    let own = &cluster.workers[0].handle.address;
    let mut stream = Tcp.connect(&own.data).await.unwrap();
    let hello = Hello { purpose, incarnation: own.incarnation, build: build().into() };
    write_all(&mut stream, &[hello.encode()]).await.unwrap();
    assert_eq!(next(&mut stream).await.kind, Kind::Welcome);
    stream
}

async fn next(stream: &mut Stream) -> Frame {
    read_frame(stream, FRAME_BYTES_MAX).await.unwrap().expect("a frame")
}

async fn sign_of_life(stream: &mut Stream) {
    let frame = next(stream).await;
    assert_eq!(frame.kind, Kind::Acks);
    assert_eq!(Acks::parse(frame.body).unwrap(), Acks(vec![]));
}

fn open(cluster: &Cluster, stream: u32, shuffle: ShuffleId) -> Bytes {
    let open = Open {
        stream,
        incarnation: cluster.workers[0].handle.address.incarnation,
        shuffle,
        token: JobToken::NONE,
        partition: PartitionIndex(0),
        epoch: Epoch(0),
        offset: 0,
        credit: 1 << 20,
        borrows: false,
        maps: None,
    };
    open.encode()
}

/// The stream of the next data.
async fn data(stream: &mut Stream) -> u32 {
    let mut frame = next(stream).await;
    while frame.kind == Kind::Acks {
        frame = next(stream).await;
    }
    Data::parse(frame.body).unwrap().stream
}

/// Commits one partition that is, at least in part, on the disk of its only worker.
async fn commit_to_disk(cluster: &Cluster, shuffle: ShuffleId) {
    let target = cluster.reserve(shuffle, 1).await;
    let batches = (0..30).map(|batch| (0, payload(0, 0, batch, 100_000)));
    cluster.write(&target, 0, 0, batches).await.unwrap();
    cluster.commit(&target, &[winner(0, 0)]).await;
    let folder = folder(shuffle);
    let is_there = async || cluster.workers[0].disk.files().iter().any(|file| file.starts_with(&folder));
    eventually("something is on the disk", is_there).await;
}

fn folder(shuffle: ShuffleId) -> String {
    format!("data/w0/{}/{}-{}", shuffle.job, shuffle.exchange, shuffle.run)
}

/// One worker that puts all data on its disk.
async fn on_disk() -> Cluster {
    let network = StandingNetwork::default();
    let configure = |config: &mut worker::Config| config.create_in = worker::Tier::Disk;
    cluster(Setup { workers: 1, configure, ..setup(&network, 1) }).await
}

#[tokio::test]
async fn a_worker_shows_that_it_is_alive_while_a_disk_reads_slowly() {
    let cluster = on_disk().await;
    commit_to_disk(&cluster, SHUFFLE).await;
    let faults = &cluster.workers[0].faults;
    faults.always("data/w0", Operation::Read, Fault::Hang);
    let mut stream = connect(&cluster, Purpose::Fetch).await;
    write_all(&mut stream, &[open(&cluster, 7, SHUFFLE)]).await.unwrap();
    for _ in 0..3 {
        sign_of_life(&mut stream).await;
    }
    faults.heal();
    assert_eq!(data(&mut stream).await, 7);
}

#[tokio::test]
async fn a_read_that_hangs_keeps_no_other_stream_of_its_connection_waiting() {
    let cluster = on_disk().await;
    for shuffle in [SHUFFLE, shuffle(1)] {
        commit_to_disk(&cluster, shuffle).await;
    }
    let faults = &cluster.workers[0].faults;
    faults.always(folder(SHUFFLE), Operation::Read, Fault::Hang);
    let mut stream = connect(&cluster, Purpose::Fetch).await;
    write_all(&mut stream, &[open(&cluster, 7, SHUFFLE)]).await.unwrap();
    eventually("it hangs", async || faults.injected() > 0).await;
    write_all(&mut stream, &[open(&cluster, 8, shuffle(1))]).await.unwrap();
    assert_eq!(data(&mut stream).await, 8);
    faults.heal();
    while data(&mut stream).await != 7 {}
}

#[tokio::test]
async fn a_worker_shows_that_it_is_alive_while_a_frame_arrives_slowly() {
    let network = StandingNetwork::default();
    let cluster = cluster(Setup { workers: 1, ..setup(&network, 1) }).await;
    let mut stream = connect(&cluster, Purpose::Push).await;
    let head = FrameHead { kind: Kind::Push, body_bytes: 1000 };
    stream.write_all(&head.encode()).await.unwrap();
    for _ in 0..3 {
        sign_of_life(&mut stream).await;
    }
}

/// An owner on the network that can stand still.
fn owner(cluster: &Cluster, network: &StandingNetwork) -> Owner {
    let masters = vec![cluster.master.control.to_string()];
    Owner::new(Arc::new(network.clone()), masters).with_copies(2).with_silence(Duration::from_millis(500))
}

fn control_of(cluster: &Cluster, worker: usize) -> &str {
    &cluster.workers[worker].handle.address.control
}

fn kept(verdicts: &[(Location, CommitVerdict)], worker: &str) -> Vec<bool> {
    let of = verdicts.iter().filter(|(location, _)| location.worker.worker.as_str() == worker);
    of.map(|(_, verdict)| verdict.is_promise()).collect()
}

// Invariant 14: one copy of each epoch is enough.
#[tokio::test]
async fn a_commit_does_not_wait_for_a_worker_that_stands_still() {
    let network = StandingNetwork::default();
    let cluster = cluster(setup(&network, 2)).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let output = cluster.write(&target, 0, 0, batches(60)).await.unwrap();
    network.0.stop(control_of(&cluster, 1));
    let owner = owner(&cluster, &network);
    let winners = [winner(0, 0)];
    let commit = owner.commit(&target, &winners);
    // Calls take up to a minute if nobody sees that the worker stands still.
    let verdicts = tokio::time::timeout(Duration::from_secs(30), commit).await.unwrap().unwrap();
    assert!(kept(&verdicts, "w1").iter().all(|kept| !kept));
    assert!(kept(&verdicts, "w0").iter().all(|kept| *kept));
    assert_eq!(read_all(&cluster, &verdicts, &[output]).await.0, 60);
}

// A connection that was quiet before the call is given up earlier, and that is not taken for a reason to try once more.
#[tokio::test]
async fn a_commit_asks_a_worker_that_stands_still_once() {
    let network = StandingNetwork::default();
    let cluster = cluster(setup(&network, 2)).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    cluster.write(&target, 0, 0, batches(60)).await.unwrap();
    let owner = owner(&cluster, &network);
    owner.reserve(shuffle(1), PARTITIONS).await.unwrap();
    network.0.stop(control_of(&cluster, 1));
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(400)).await;
    tokio::time::resume();
    let verdicts = owner.commit(&target, &[winner(0, 0)]).await.unwrap();
    assert!(kept(&verdicts, "w1").iter().all(|kept| !kept));
    assert_eq!(network.0.tries(control_of(&cluster, 1)), 1);
}

// Invariant 14: nobody waited for its answer, and all its data is there.
#[tokio::test]
async fn a_copy_that_was_committed_unheard_is_read_when_the_other_one_is_gone() {
    let network = StandingNetwork::default();
    let cluster = cluster(setup(&network, 2)).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let output = cluster.write(&target, 0, 0, batches(60)).await.unwrap();
    network.0.stop(control_of(&cluster, 1));
    let winners = [winner(0, 0)];
    let verdicts = owner(&cluster, &network).commit(&target, &winners).await.unwrap();
    assert!(kept(&verdicts, "w1").iter().all(|kept| !kept));
    // The commit arrives late.
    network.0.go();
    let late = cluster.commit(&target, &winners).await;
    assert!(kept(&late, "w1").iter().all(|kept| *kept));
    cluster.workers[0].stop().await;
    assert_eq!(read_all(&cluster, &verdicts, &[output]).await.0, 60);
}

// Invariant 4: where nobody has answered, an answer may still come.
#[tokio::test]
async fn a_commit_goes_on_asking_while_no_copy_answers() {
    let network = StandingNetwork::default();
    let cluster = cluster(setup(&network, 2)).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    cluster.write(&target, 0, 0, batches(60)).await.unwrap();
    (0..3).for_each(|worker| network.0.refuse(control_of(&cluster, worker)));
    let owner = owner(&cluster, &network);
    let winners = [winner(0, 0)];
    let mut commit = pin!(owner.commit(&target, &winners));
    // More than the tries of one call.
    let asked = async || (0..3).all(|worker| network.0.tries(control_of(&cluster, worker)) > 6);
    tokio::select! {
        biased;
        verdicts = &mut commit => panic!("nobody was asked again: {verdicts:?}"),
        () = eventually("everybody is asked again", asked) => {}
    }
    network.0.go();
    let verdicts = commit.await.unwrap();
    assert!(verdicts.iter().all(|(_, verdict)| verdict.is_promise()));
}

// Invariant 15, and nobody waits long: what the worker that stands still may have taken is not shown.
#[tokio::test]
async fn a_reservation_goes_elsewhere_when_a_worker_stands_still() {
    let network = StandingNetwork::default();
    let cluster = cluster(setup(&network, 2)).await;
    network.0.stop(control_of(&cluster, 1));
    let owner = owner(&cluster, &network);
    for exchange in [0, 1] {
        let reserve = owner.reserve(shuffle(exchange), PARTITIONS);
        let target = tokio::time::timeout(Duration::from_secs(8), reserve).await.unwrap().unwrap();
        let copies: Vec<_> = target.locations.iter().flat_map(Location::copies).collect();
        assert_eq!(copies.len(), 2 * PARTITIONS as usize);
        assert!(copies.iter().all(|copy| copy.worker.worker.as_str() != "w1"), "{copies:?}");
    }
}
