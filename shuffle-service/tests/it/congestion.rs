//! Two users push while memory is short: the one who fills it is asked for less, sends less at a time and loses nothing; the
//! other one goes on.

use std::{cell::Cell, sync::Arc};

use bytes::Bytes;
use penstock_common::{bytes::ByteSize, lifecycle::Tasks};
use penstock_protocol::{
    ids::{JobId, PartitionIndex, ShuffleId},
    shuffle::{MapOutput, ShuffleTarget},
};
use penstock_shuffle_client::{ClientOptions, ShuffleClient, owner::Profile};
use uuid::Uuid;

use crate::{
    cluster::{Cluster, SHUFFLE, Setup, attempt, cluster, eventually, payload, winner},
    network::StandingNetwork,
    watch::Watch,
};

const FRAME: usize = 64 << 10;
/// Frames of one attempt, more than any window of these tests holds.
const MANY: u32 = 30;

/// With a process of their own, as executors of different users have.
struct User {
    client: ShuffleClient,
    network: StandingNetwork,
    target: Arc<ShuffleTarget>,
    outputs: Vec<MapOutput>,
    written: Vec<Bytes>,
}

impl User {
    async fn new(cluster: &Cluster, tasks: &Tasks, name: &str, shuffle: ShuffleId) -> Self {
        cluster.owner.describe(shuffle.job, Profile { user: name.into(), ..Profile::default() });
        let network = StandingNetwork::default();
        // Each batch is a frame.
        let options = ClientOptions { frame_bytes: 1, ..ClientOptions::default() };
        let client = ShuffleClient::new(Arc::new(network.clone()), options, tasks.clone());
        let target = cluster.reserve(shuffle, 1).await;
        Self { client, network, target, outputs: Vec::new(), written: Vec::new() }
    }

    /// Writes the next map; `sent` counts the frames that its window let through.
    async fn write(&mut self, frames: u32, bytes: usize, sent: &Cell<u32>) {
        let map = self.outputs.len() as u32;
        let mut writer = self.client.writer(attempt(map, 0), Arc::clone(&self.target)).await.unwrap();
        for frame in 0..frames {
            let payload = payload(map, 0, frame, bytes);
            self.written.push(payload.clone());
            writer.push(PartitionIndex(0), 1, payload).await.unwrap();
            sent.set(sent.get() + 1);
        }
        self.outputs.push(writer.finish().await.unwrap());
    }

    async fn assert_nothing_is_lost(self, cluster: &Cluster) {
        let winners: Vec<_> = (0..).zip(&self.outputs).map(|(map, _)| winner(map, 0)).collect();
        let source = cluster.sources(&self.target, &winners, &self.outputs).await.remove(0);
        let read = cluster.read(self.target.shuffle, &winners, source).await.unwrap();
        assert!(read == self.written, "{} of {} batches came back", read.len(), self.written.len());
    }
}

/// Frames that are on their way at most while no answer comes, and have all arrived; `meanwhile` happens then.
async fn window(cluster: &Cluster, watch: &Watch, user: &mut User, meanwhile: impl AsyncFnOnce()) -> u32 {
    let (network, worker) = (user.network.clone(), cluster.workers[0].handle.data.to_string());
    network.0.stop(&worker);
    let (sent, mut arrived) = (Cell::new(0), 0);
    watch.counters();
    let write = user.write(MANY, FRAME, &sent);
    tokio::pin!(write);
    tokio::select! {
        biased;
        () = &mut write => panic!("it ended without answers"),
        () = eventually("all of a full window arrives", async || {
            arrived += watch.total("penstock_shuffle_pushed_bytes_total");
            sent.get() > 0 && arrived >= u64::from(sent.get()) * FRAME as u64
        }) => {}
    }
    let window = sent.get();
    tokio::select! {
        biased;
        () = &mut write => panic!("it ended without answers"),
        () = meanwhile() => {}
    }
    assert_eq!(sent.get(), window);
    network.0.go();
    write.await;
    window
}

/// Memory is short from 9 MB on, and 18 MB are there before anybody waits.
fn setup() -> Setup {
    Setup {
        workers: 1,
        memory: ByteSize::mib(48),
        configure: |config| (config.flush_from_percent, config.flush_to_percent) = (2, 1),
        ..Setup::default()
    }
}

// Invariant 6: congestion is a wish; everything is accepted.
#[tokio::test]
async fn the_user_who_fills_the_memory_sends_less_at_a_time_and_the_other_one_is_not_held_up() {
    let watch = Watch::start();
    let cluster = cluster(setup()).await;
    let tasks = Tasks::new("users");
    let mut greedy = User::new(&cluster, &tasks, "greedy", SHUFFLE).await;
    let other = ShuffleId { job: JobId(Uuid::from_u128(2)), ..SHUFFLE };
    let mut modest = User::new(&cluster, &tasks, "modest", other).await;
    let (disk, any) = (&cluster.workers[0].disk, Cell::new(0));
    disk.hold_writes();
    greedy.write(160, FRAME, &any).await;

    let (mut asked, mut asked_of_modest) = (0, 0);
    watch.counters();
    eventually("one user is asked for less", async || {
        greedy.write(1, 9_000, &any).await;
        asked += watch.total("penstock_shuffle_congested_frames_total");
        modest.write(1, 1_000, &any).await;
        asked_of_modest += watch.total("penstock_shuffle_congested_frames_total");
        // Halved so often, any window is as small as it gets.
        asked >= 6
    })
    .await;
    assert_eq!(asked_of_modest, 0);

    let (of_modest, none) = (window(&cluster, &watch, &mut modest, async || {}).await, Cell::new(0));
    let of_greedy = window(&cluster, &watch, &mut greedy, async || modest.write(1, 1_000, &none).await).await;
    assert!(2 * of_greedy <= of_modest, "{of_greedy} frames at a time, and {of_modest} of the other user");

    disk.let_writes_go();
    greedy.assert_nothing_is_lost(&cluster).await;
    modest.assert_nothing_is_lost(&cluster).await;
    tasks.stop_token().cancel();
}
