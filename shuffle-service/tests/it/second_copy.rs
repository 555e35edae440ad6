//! A worker beside a replica that does what the test says.

use penstock_common::{
    grpc,
    net::{Listener, Network, Stream, Tcp},
};
use penstock_protocol::{
    build,
    frame::{
        Acks, Answer, BatchHeader, FRAME_BYTES_MAX, Fault, Frame, Hello, Kind, Purpose, Push, PushHead,
        PushRecorder, PushVerdict, Refusal, Welcome, read_frame, write_all,
    },
    ids::{AttemptNumber, BatchId, Epoch, Incarnation, PartitionIndex, TaskIndex},
    pb::{self, shuffle_worker_client::ShuffleWorkerClient},
    shuffle::{CommitVerdict, Location, ShuffleTarget, WorkerAddress},
};

use penstock_shuffle_service::worker;

use crate::cluster::{Cluster, SHUFFLE, Setup, cluster, winner};

struct Scene {
    cluster: Cluster,
    client: Stream,
    replica: Box<dyn Listener>,
    requests: u64,
}

impl Scene {
    /// Partitions 0 and 1 are reserved with a second copy at the test, partition 2 without.
    async fn new() -> Self {
        let configure = |config: &mut worker::Config| config.silence_ms = 500;
        let cluster = cluster(Setup { workers: 1, configure, ..Setup::default() }).await;
        let replica = Tcp.bind("127.0.0.1:0").await.unwrap();
        let address = WorkerAddress {
            worker: "replica".into(),
            incarnation: Incarnation(77),
            control: "nowhere:1".into(),
            data: replica.local_addr().unwrap().to_string(),
        };
        reserve(&cluster, &[0, 1], Some(&address)).await;
        reserve(&cluster, &[2], None).await;
        let own = &cluster.workers[0].handle.address;
        let mut client = Tcp.connect(&own.data).await.unwrap();
        let hello = Hello { purpose: Purpose::Push, incarnation: own.incarnation, build: build().into() };
        write_all(&mut client, &[hello.encode()]).await.unwrap();
        assert_eq!(next(&mut client).await.kind, Kind::Welcome);
        Self { cluster, client, replica, requests: 0 }
    }

    /// Pushes one batch to each partition in one frame.
    async fn push(&mut self, partitions: &[u32]) {
        let mut recorder = PushRecorder::default();
        for partition in partitions {
            let batch = BatchId(self.requests as u32 * 10 + partition);
            let header = BatchHeader::of(TaskIndex(0), AttemptNumber(0), batch, 1, b"payload");
            recorder.add(PartitionIndex(*partition), Epoch(0), &header, "payload".into());
        }
        let incarnation = self.cluster.workers[0].handle.address.incarnation;
        let head = PushHead {
            request: self.requests,
            incarnation,
            shuffle: SHUFFLE,
            token: penstock_protocol::token::JobToken::NONE,
        };
        self.requests += 1;
        write_all(&mut self.client, &recorder.finish(head)).await.unwrap();
    }

    /// The replica's end of the link.
    async fn link(&self) -> Stream {
        let (mut link, _) = self.replica.accept().await.unwrap();
        let hello = Hello::parse(next(&mut link).await.body).unwrap();
        assert_eq!((hello.purpose, hello.incarnation), (Purpose::Replicate, Incarnation(77)));
        write_all(&mut link, &[Welcome { frame_bytes_max: 1 << 20 }.encode()]).await.unwrap();
        link
    }

    /// What the client hears next; signs of life are no answers.
    async fn answers(&mut self) -> Vec<Answer> {
        loop {
            let answers = Acks::parse(next(&mut self.client).await.body).unwrap().0;
            if !answers.is_empty() {
                return answers;
            }
        }
    }

    async fn commit(&self, partition: u32) -> CommitVerdict {
        let worker = std::sync::Arc::new(self.cluster.workers[0].handle.address.clone());
        let location = Location::on(PartitionIndex(partition), Epoch(0), worker);
        let target = ShuffleTarget { shuffle: SHUFFLE, locations: vec![location] };
        self.cluster.commit(&target, &[winner(0, 0)]).await.remove(0).1
    }
}

async fn reserve(cluster: &Cluster, partitions: &[u32], replica: Option<&WorkerAddress>) {
    let own = &cluster.workers[0].handle.address;
    let mut control = ShuffleWorkerClient::new(grpc::channel(std::sync::Arc::new(Tcp), &own.control));
    let key = |partition: &u32| pb::LocationKey { partition: *partition, epoch: 0 };
    let request = pb::ReserveRequest {
        incarnation: own.incarnation.0,
        shuffle: Some(SHUFFLE.into()),
        locations: partitions.iter().map(key).collect(),
        replica: replica.map(Into::into),
        ..Default::default()
    };
    control.reserve(request).await.unwrap();
}

async fn next(stream: &mut Stream) -> Frame {
    read_frame(stream, FRAME_BYTES_MAX).await.unwrap().expect("a frame")
}

async fn forwarded(link: &mut Stream) -> Push {
    Push::parse(next(link).await.body).unwrap()
}

async fn answer(link: &mut Stream, push: &Push, verdicts: Vec<PushVerdict>) {
    let answers = Acks(vec![Answer { request: push.head.request, verdicts }]);
    write_all(link, &[answers.encode()]).await.unwrap();
}

fn partitions(push: &Push) -> Vec<u32> {
    push.entries.iter().map(|entry| entry.partition.0).collect()
}

// Invariant 1: no acknowledgement before the second copy is stored; and frames do not wait for each other's.
#[tokio::test]
async fn a_batch_is_acknowledged_when_its_second_copy_is_stored_and_not_before() {
    let mut scene = Scene::new().await;
    scene.push(&[0, 1]).await;
    scene.push(&[2]).await;
    // The second frame has no second copy: that it is answered, and alone, shows that the first one waits.
    assert_eq!(scene.answers().await, [Answer { request: 1, verdicts: vec![] }]);
    let mut link = scene.link().await;
    let push = forwarded(&mut link).await;
    assert_eq!(push.head.shuffle, SHUFFLE);
    assert_eq!(partitions(&push), [0, 1]);
    scene.push(&[2]).await;
    assert_eq!(scene.answers().await, [Answer { request: 2, verdicts: vec![] }]);
    answer(&mut link, &push, vec![]).await;
    assert_eq!(scene.answers().await, [Answer { request: 0, verdicts: vec![] }]);
}

#[tokio::test]
async fn a_merged_frame_sends_on_only_what_has_a_second_copy() {
    let mut scene = Scene::new().await;
    scene.push(&[2, 1, 2, 0]).await;
    let mut link = scene.link().await;
    let push = forwarded(&mut link).await;
    assert_eq!(partitions(&push), [1, 0]);
    assert_eq!(push.entries[0].batch.payload(), "payload");
    let full = PushVerdict::Refused(Refusal::Full);
    answer(&mut link, &push, vec![PushVerdict::Accepted, full]).await;
    let accepted = PushVerdict::Accepted;
    let verdicts = vec![accepted, accepted, accepted, full];
    assert_eq!(scene.answers().await, [Answer { request: 0, verdicts }]);
}

// Invariant 6: the worse verdict counts, and after a refusal nothing follows in that epoch.
#[tokio::test]
async fn what_the_second_copy_refuses_is_refused_and_so_is_what_follows() {
    let mut scene = Scene::new().await;
    scene.push(&[0, 1]).await;
    let mut link = scene.link().await;
    let push = forwarded(&mut link).await;
    answer(&mut link, &push, vec![PushVerdict::SplitSoon, PushVerdict::Refused(Refusal::Broken)]).await;
    let lost = PushVerdict::Refused(Refusal::ReplicaLost);
    assert_eq!(scene.answers().await, [Answer { request: 0, verdicts: vec![PushVerdict::SplitSoon, lost] }]);
    scene.push(&[1]).await;
    assert_eq!(scene.answers().await, [Answer { request: 1, verdicts: vec![lost] }]);
}

// Invariant 1: without the second copy nothing is acknowledged. A link that broke is not opened again: what was on its way has an unknown outcome.
#[tokio::test]
async fn a_broken_link_ends_its_locations() {
    let mut scene = Scene::new().await;
    scene.push(&[0]).await;
    let mut link = scene.link().await;
    forwarded(&mut link).await;
    drop(link);
    let lost = PushVerdict::Refused(Refusal::ReplicaLost);
    assert_eq!(scene.answers().await, [Answer { request: 0, verdicts: vec![lost] }]);
    scene.push(&[1, 2]).await;
    let verdicts = vec![lost, PushVerdict::Accepted];
    assert_eq!(scene.answers().await, [Answer { request: 1, verdicts }]);
}

// Many come at once when a worker has started, and it turns some away.
#[tokio::test]
async fn a_link_that_is_turned_away_before_anything_was_sent_comes_again() {
    let mut scene = Scene::new().await;
    scene.push(&[0]).await;
    let (closed, _) = scene.replica.accept().await.unwrap();
    drop(closed);
    let (mut turned_away, _) = scene.replica.accept().await.unwrap();
    let fault = Fault { refusal: Refusal::NoRoom, message: "all in use".to_owned() };
    write_all(&mut turned_away, &[fault.encode()]).await.unwrap();
    let mut link = scene.link().await;
    let push = forwarded(&mut link).await;
    answer(&mut link, &push, vec![]).await;
    assert_eq!(scene.answers().await, [Answer { request: 0, verdicts: vec![] }]);
}

// Nobody waits for a second copy that hangs; one that shows that it is alive is waited for.
#[tokio::test]
async fn a_replica_that_says_nothing_is_given_up_and_one_that_is_slow_is_not() {
    let mut scene = Scene::new().await;
    scene.push(&[0]).await;
    let mut link = scene.link().await;
    let push = forwarded(&mut link).await;
    // As many as fit into several silences.
    for _ in 0..8 {
        assert_eq!(Acks::parse(next(&mut scene.client).await.body).unwrap(), Acks(vec![]));
        write_all(&mut link, &[Acks(vec![]).encode()]).await.unwrap();
    }
    answer(&mut link, &push, vec![]).await;
    assert_eq!(scene.answers().await, [Answer { request: 0, verdicts: vec![] }]);
    scene.push(&[0]).await;
    forwarded(&mut link).await;
    let lost = PushVerdict::Refused(Refusal::ReplicaLost);
    assert_eq!(scene.answers().await, [Answer { request: 1, verdicts: vec![lost] }]);
}

// Invariant 2: a commit waits for the answers that are still to come, and covers what they accept.
#[tokio::test]
async fn a_commit_waits_until_the_second_copy_has_answered() {
    let mut scene = Scene::new().await;
    scene.push(&[0]).await;
    let mut link = scene.link().await;
    let push = forwarded(&mut link).await;
    {
        let mut commit = std::pin::pin!(scene.commit(0));
        // Another commit goes through all the way while this one waits.
        tokio::select! {
            biased;
            verdict = &mut commit => panic!("{verdict:?} although a batch is on its way"),
            empty = scene.commit(1) => assert_eq!(empty, CommitVerdict::Empty),
        }
        answer(&mut link, &push, vec![]).await;
        assert_eq!(commit.await, CommitVerdict::Committed { stored_bytes: 28 + 7 });
    }
    assert_eq!(scene.answers().await, [Answer { request: 0, verdicts: vec![] }]);
}
