//! More clients than a worker has connections for: they hear it, and get on when one is free.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt;
use penstock_common::{lifecycle::Tasks, net::Tcp};
use penstock_protocol::{
    ids::PartitionIndex,
    shuffle::{MapOutput, PartitionSource, ShuffleTarget},
};
use penstock_shuffle_client::{ClientOptions, FetchError, PushError, ShuffleClient};
use penstock_shuffle_service::worker::Config;

use crate::{
    cluster::{Cluster, SHUFFLE, Setup, attempt, cluster, eventually, payload, winner},
    watch::Watch,
};

const TURNED_AWAY: &str = "penstock_shuffle_turned_away_connections_total";

/// With a process of its own, whose connections close with it.
struct Client {
    client: ShuffleClient,
    tasks: Tasks,
}

impl Client {
    fn new(connect_tries: u32) -> Self {
        let tasks = Tasks::new("client");
        let options = ClientOptions { connect_tries, ..ClientOptions::default() };
        Self { client: ShuffleClient::new(Arc::new(Tcp), options, tasks.clone()), tasks }
    }

    async fn write(&self, target: &Arc<ShuffleTarget>, map: u32) -> Result<MapOutput, PushError> {
        let mut writer = self.client.writer(attempt(map, 0), Arc::clone(target)).await?;
        writer.push(PartitionIndex(0), 1, batch(map)).await?;
        writer.finish().await
    }

    async fn read(&self, source: PartitionSource, maps: u32) -> Result<Vec<Bytes>, FetchError> {
        let winners: Vec<_> = (0..maps).map(|map| winner(map, 0)).collect();
        self.client.read(SHUFFLE, winners.into(), source).try_collect().await
    }

    async fn exit(self) {
        self.tasks.stop(Duration::from_secs(10)).await.unwrap();
    }
}

fn batch(map: u32) -> Bytes {
    payload(map, 0, 0, 1000)
}

/// A worker with two connections, and the clients that hold them.
struct Full {
    cluster: Cluster,
    target: Arc<ShuffleTarget>,
    first: Client,
    second: Client,
    outputs: Vec<MapOutput>,
}

async fn full() -> Full {
    let configure = |config: &mut Config| config.connections_max = 2;
    let cluster = cluster(Setup { workers: 1, configure, ..Setup::default() }).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let (first, second) = (Client::new(2), Client::new(2));
    let outputs = vec![first.write(&target, 0).await.unwrap(), second.write(&target, 1).await.unwrap()];
    Full { cluster, target, first, second, outputs }
}

#[tokio::test]
async fn clients_above_the_limit_get_on_when_a_connection_is_free() {
    let watch = Watch::start();
    let Full { cluster, target, first, second, mut outputs } = full().await;
    let third = Client::new(u32::MAX);
    {
        let (write, mut turned_away) = (third.write(&target, 2), 0);
        tokio::pin!(write);
        tokio::select! {
            wrote = &mut write => panic!("there is no room for it: {wrote:?}"),
            () = eventually("it tries again", async || {
                turned_away += watch.total(TURNED_AWAY);
                turned_away >= 2
            }) => {}
        }
        first.exit().await;
        outputs.push(write.await.unwrap());
    }
    let told = |of| watch.warnings().iter().filter(|line| line.contains(of)).count();
    let told_now_and_later = || (told("too many data connections"), told("more data connections"));
    assert_eq!(told_now_and_later(), (1, 0), "{:?}", watch.warnings());

    let winners = [winner(0, 0), winner(1, 0), winner(2, 0)];
    let source = cluster.sources(&target, &winners, &outputs).await.remove(0);
    let reader = Client::new(u32::MAX);
    let read = reader.read(source, 3);
    tokio::pin!(read);
    let mut turned_away = 0;
    tokio::select! {
        read = &mut read => panic!("there is no room for it: {read:?}"),
        () = eventually("it tries again", async || {
            turned_away += watch.total(TURNED_AWAY);
            turned_away >= 2
        }) => {}
    }
    second.exit().await;
    assert_eq!(read.await.unwrap(), (0..3).map(batch).collect::<Vec<_>>());
    cluster.workers[0].stop().await;
    assert_eq!(told_now_and_later(), (1, 1), "{:?}", watch.warnings());
}

#[tokio::test]
async fn a_client_that_never_gets_a_connection_fails_by_name() {
    let Full { cluster, target, outputs, first: _first, second: _second } = full().await;
    let third = Client::new(2);
    let error = third.write(&target, 2).await.unwrap_err();
    assert!(matches!(error, PushError::NoRoom { .. }), "{error}");
    let source = cluster.sources(&target, &[winner(0, 0), winner(1, 0)], &outputs).await.remove(0);
    let error = third.read(source, 2).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("2 data connections are all in use"), "{error}");
}

// With somebody to ask for another place, the next worker is as good.
#[tokio::test]
async fn writers_go_on_where_there_is_a_connection() {
    fn configure(index: usize, config: &mut Config) {
        config.connections_max = if index == 0 { 1 } else { 100 };
    }
    let cluster = cluster(Setup { configure_worker: configure, revive: true, ..Setup::default() }).await;
    let worker = cluster.workers[0].id().clone();
    let target = cluster.reserve(SHUFFLE, 4).await;
    let there = target.locations.iter().position(|location| location.worker.worker == worker).unwrap() as u32;
    // Holds the only connection.
    let first = Client::new(2);
    let mut writer = first.client.writer(attempt(0, 0), Arc::clone(&target)).await.unwrap();
    writer.push(PartitionIndex(there), 1, batch(0)).await.unwrap();
    let outputs =
        [writer.finish().await.unwrap(), cluster.write(&target, 1, 0, [(there, batch(1))]).await.unwrap()];
    let sources = cluster.sources(&target, &[winner(0, 0), winner(1, 0)], &outputs).await;
    first.exit().await;
    let source = sources.into_iter().find(|source| source.partition.0 == there).unwrap();
    let read = cluster.read(SHUFFLE, &[winner(0, 0), winner(1, 0)], source).await.unwrap();
    assert_eq!(read, [batch(0), batch(1)]);
}
