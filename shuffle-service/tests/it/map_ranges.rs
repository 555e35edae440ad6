//! Several readers share one large partition by maps.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use penstock_common::bytes::ByteSize;
use penstock_protocol::{
    ids::TaskIndex,
    shuffle::{MapOutput, PartitionSource, ShuffleTarget, Winner},
};
use penstock_shuffle_client::{ClientOptions, FetchError, owner::totals_of};

use crate::{
    cluster::{Cluster, SHUFFLE, Setup, cluster, payload, winner},
    network::{Breaking, Limits},
};

const MAPS: u32 = 9;

struct Written {
    cluster: Cluster,
    winners: Vec<Winner>,
    outputs: Vec<MapOutput>,
    source: PartitionSource,
}

async fn map(cluster: &Cluster, target: &Arc<ShuffleTarget>, map: u32) -> MapOutput {
    let batches =
        (0..20).map(|batch| (0, payload(map, 0, batch, 1000 + 997 * ((map + batch) % 60) as usize)));
    cluster.write(target, map, 0, batches).await.unwrap()
}

/// One partition into which all maps wrote at the same time, most of it on disk.
async fn written(setup: Setup) -> Written {
    let cluster = cluster(Setup { workers: 1, memory: ByteSize::mib(8), ..setup }).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let outputs = futures::future::join_all((0..MAPS).map(|index| map(&cluster, &target, index))).await;
    let winners: Vec<_> = (0..MAPS).map(|map| winner(map, 0)).collect();
    let source = cluster.sources(&target, &winners, &outputs).await.remove(0);
    Written { cluster, winners, outputs, source }
}

impl Written {
    async fn read(&self, start: u32, end: u32) -> Result<Vec<Bytes>, FetchError> {
        let totals = totals_of(self.source.partition, &self.outputs[start as usize..end as usize]);
        let source = PartitionSource { totals, ..self.source.clone() };
        let maps = TaskIndex(start)..TaskIndex(end);
        self.cluster.client.read_maps(SHUFFLE, &self.winners, source, maps).try_collect().await
    }

    /// Invariant 21: the union of range reads equals the full read, as multisets. Totals are checked by the client.
    async fn assert_ranges_cover_everything(&self) {
        let mut whole = self.cluster.read(SHUFFLE, &self.winners, self.source.clone()).await.unwrap();
        for cuts in [vec![0, MAPS], vec![0, 4, MAPS], vec![0, 1, 2, 3, 8, MAPS], vec![0, 0, 5, 5, MAPS]] {
            let mut union = Vec::new();
            for range in cuts.windows(2) {
                union.extend(self.read(range[0], range[1]).await.unwrap());
            }
            union.sort();
            whole.sort();
            assert_eq!(union, whole, "cut at {cuts:?}");
        }
    }
}

#[tokio::test]
async fn readers_of_disjoint_ranges_of_maps_get_each_batch_once() {
    let written = written(Setup::default()).await;
    written.assert_ranges_cover_everything().await;
}

#[tokio::test]
async fn a_stream_of_some_maps_goes_on_where_it_stopped_when_its_connection_breaks() {
    let fine = Limits { write: usize::MAX, read: usize::MAX };
    let breaks = |read| Limits { write: usize::MAX, read };
    // The first connection pushes.
    let network = Breaking::new(vec![fine, breaks(50_000), breaks(77_777), breaks(150_000), breaks(10_000)]);
    let options = ClientOptions { fetch_stream_bytes_max: 128 << 10, ..ClientOptions::default() };
    let written = written(Setup { network: network.clone(), options, ..Setup::default() }).await;
    let mut read = written.read(2, 5).await.unwrap();
    read.sort();
    let mut expected: Vec<_> = (2..5)
        .flat_map(|map| {
            (0..20).map(move |batch| payload(map, 0, batch, 1000 + 997 * ((map + batch) % 60) as usize))
        })
        .collect();
    expected.sort();
    assert_eq!(read, expected);
    assert!(network.connections.load(std::sync::atomic::Ordering::SeqCst) >= 4);
}
