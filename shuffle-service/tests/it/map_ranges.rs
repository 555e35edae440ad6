//! Several readers share one large partition by maps.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;
use penstock_common::bytes::ByteSize;
use penstock_protocol::{
    effort::FetchEffort,
    frame::BATCH_HEADER_BYTES,
    ids::{Epoch, PartitionIndex, TaskIndex},
    shuffle::{Location, MapOutput, PartitionSource, ShuffleTarget, Winner},
};
use penstock_shuffle_client::{
    ClientOptions, FetchError,
    owner::{sources, totals_of},
};
use penstock_shuffle_service::disk::MemoryDisk;

use crate::{
    cluster::{Cluster, SHUFFLE, Setup, cluster, payload, winner},
    network::{Breaking, Limits},
};

const MAPS: u32 = 9;
const BATCHES: u32 = 60;

struct Written {
    cluster: Cluster,
    winners: Vec<Winner>,
    outputs: Vec<MapOutput>,
    source: PartitionSource,
}

fn batches(map: u32) -> impl Iterator<Item = Bytes> {
    (0..BATCHES).map(move |batch| payload(map, 0, batch, 1000 + 997 * ((map + batch) % 60) as usize))
}

async fn map(cluster: &Cluster, target: &Arc<ShuffleTarget>, map: u32) -> MapOutput {
    cluster.write(target, map, 0, batches(map).map(|payload| (0, payload))).await.unwrap()
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

/// One partition with a copy on each of two workers. On the second one the maps lie in the opposite order.
async fn written_both_ways() -> Written {
    let cluster = cluster(Setup { memory: ByteSize::mib(8), ..Setup::default() }).await;
    let there = [reserved_on(&cluster, 0).await, reserved_on(&cluster, 1).await];
    let [first, second] = there.clone().map(|location| Arc::new(target(location)));
    let mut outputs = Vec::new();
    for index in 0..MAPS {
        outputs.push(map(&cluster, &first, index).await);
    }
    for index in (0..MAPS).rev() {
        map(&cluster, &second, index).await;
    }
    let [first, second] = there;
    let both = target(Location { replica: Some(second.worker), ..first });
    let winners: Vec<_> = (0..MAPS).map(|map| winner(map, 0)).collect();
    let verdicts = cluster.owner.commit(&both, &winners).await.unwrap();
    let source = sources(SHUFFLE, &verdicts, &outputs).unwrap().remove(0);
    Written { cluster, winners, outputs, source }
}

async fn reserved_on(cluster: &Cluster, worker: usize) -> Location {
    let others = [cluster.workers[1 - worker].id().clone()];
    cluster.owner.extend(SHUFFLE, &[(PartitionIndex(0), Epoch(0))], &others).await.unwrap().remove(0)
}

fn target(location: Location) -> ShuffleTarget {
    ShuffleTarget { shuffle: SHUFFLE, locations: vec![location] }
}

fn sorted(batches: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
    let mut sorted: Vec<_> = batches.into_iter().collect();
    sorted.sort();
    sorted
}

impl Written {
    async fn read(&self, start: u32, end: u32) -> Result<Vec<Bytes>, FetchError> {
        self.read_at(self.source.locations.clone(), start, end).await
    }

    async fn read_at(
        &self,
        locations: Vec<Location>,
        start: u32,
        end: u32,
    ) -> Result<Vec<Bytes>, FetchError> {
        self.read_counted(locations, start, end, Arc::default()).await
    }

    async fn read_counted(
        &self,
        locations: Vec<Location>,
        start: u32,
        end: u32,
        effort: Arc<FetchEffort>,
    ) -> Result<Vec<Bytes>, FetchError> {
        let totals = totals_of(self.source.partition, &self.outputs[start as usize..end as usize]);
        let source = PartitionSource { totals, locations, ..self.source };
        let maps = TaskIndex(start)..TaskIndex(end);
        self.cluster.client.read_maps(SHUFFLE, &self.winners, source, maps, effort).try_collect().await
    }

    /// Totals are checked by the client.
    async fn assert_ranges_cover_everything(&self) {
        let whole = sorted(self.cluster.read(SHUFFLE, &self.winners, self.source.clone()).await.unwrap());
        for cuts in [vec![0, MAPS], vec![0, 4, MAPS], vec![0, 1, 2, 3, 8, MAPS], vec![0, 0, 5, 5, MAPS]] {
            let mut union = Vec::new();
            for range in cuts.windows(2) {
                union.extend(self.read(range[0], range[1]).await.unwrap());
            }
            assert_eq!(sorted(union), whole, "cut at {cuts:?}");
        }
    }
}

// Invariant 21: the union of range reads equals the full read, as multisets.
#[tokio::test]
async fn readers_of_disjoint_ranges_of_maps_get_each_batch_once() {
    let written = written(Setup::default()).await;
    written.assert_ranges_cover_everything().await;
}

// Invariant 20: a reader stays with its copy, whose layout decides where it goes on.
#[tokio::test]
async fn a_stream_of_some_maps_goes_on_where_it_stopped_when_its_connection_breaks() {
    let fine = Limits { write: usize::MAX, read: usize::MAX };
    let breaks = |read| Limits { write: usize::MAX, read };
    // The first connection pushes.
    let network = Breaking::new(vec![fine, breaks(50_000), breaks(77_777), breaks(150_000), breaks(10_000)]);
    let options = ClientOptions { fetch_stream_bytes_max: 128 << 10, ..ClientOptions::default() };
    let written = written(Setup { network: network.clone(), options, ..Setup::default() }).await;
    let (locations, effort) = (written.source.locations.clone(), Arc::new(FetchEffort::default()));
    let read = written.read_counted(locations, 2, 5, Arc::clone(&effort)).await.unwrap();
    assert_eq!(sorted(read), sorted((2..5).flat_map(batches)));
    assert_eq!(effort.batches_skipped.get(), 0, "what had been read came again");
    assert!(network.connections.load(std::sync::atomic::Ordering::SeqCst) >= 4);
}

// Invariant 20: a range is one of maps and not of bytes, so it means the same on copies that are laid out differently.
#[tokio::test]
async fn readers_of_disjoint_ranges_of_maps_may_read_from_different_copies() {
    let written = written_both_ways().await;
    let mut union = Vec::new();
    let copies: Vec<_> = written.source.locations[0].copies().collect();
    for (copy, (start, end)) in [(0, (0, 4)), (1, (4, 5)), (0, (5, 8)), (1, (8, MAPS))] {
        union.extend(written.read_at(vec![copies[copy].clone()], start, end).await.unwrap());
    }
    assert_eq!(sorted(union), sorted((0..MAPS).flat_map(batches)));
}

// Invariants 19 and 20: where a reader stopped in one copy says nothing of the other one.
#[tokio::test]
async fn a_reader_of_some_maps_that_changes_its_copy_begins_at_the_beginning() {
    let written = written_both_ways().await;
    let disk = &written.cluster.workers[0].disk;
    let file = disk.files().remove(0);
    let in_front: usize = (0..3).flat_map(batches).map(|payload| BATCH_HEADER_BYTES + payload.len()).sum();
    for position in [in_front, in_front + 500, in_front + 40_000] {
        disk.damage(&file, |bytes| bytes[position] ^= 0x10);
        let read = written.read(1, 5).await.unwrap();
        assert_eq!(sorted(read), sorted((1..5).flat_map(batches)), "damaged at {position}");
        disk.damage(&file, |bytes| bytes[position] ^= 0x10);
    }
}

/// Bytes that the disk reads for one map after the other, each with those that its batches have.
async fn read_for_each(written: &Written, disk: &MemoryDisk, maps: Range<u32>) -> Vec<(u64, u64)> {
    let mut read = Vec::new();
    for map in maps {
        let before = disk.read_bytes();
        assert_eq!(sorted(written.read(map, map + 1).await.unwrap()), sorted(batches(map)));
        let wanted: usize = batches(map).map(|payload| BATCH_HEADER_BYTES + payload.len()).sum();
        read.push((disk.read_bytes() - before, wanted as u64));
    }
    read
}

// A block of maps that nobody wants is not read either, for as long as the worker lives that took it.
#[tokio::test]
async fn a_range_of_maps_costs_the_disk_little_more_than_its_batches_until_the_worker_starts_again() {
    let cluster = cluster(Setup { workers: 1, memory: ByteSize::mib(8), ..Setup::default() }).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let mut outputs = Vec::new();
    for index in 0..MAPS {
        outputs.push(map(&cluster, &target, index).await);
    }
    let winners: Vec<_> = (0..MAPS).map(|map| winner(map, 0)).collect();
    let source = cluster.sources(&target, &winners, &outputs).await.remove(0);
    let written = Written { cluster, winners, outputs, source };
    let worker = &written.cluster.workers[0];
    for (read, wanted) in read_for_each(&written, &worker.disk, 0..3).await {
        assert!(read > 0 && read < 2 * wanted, "{read} bytes read for {wanted}");
    }
    // What a former life took is not known by its maps: any range is picked out of all of it.
    let again = written.cluster.restart(worker, Arc::clone(&worker.disk)).await;
    for (read, wanted) in read_for_each(&written, &again.disk, 0..3).await {
        assert!(read > 7 * wanted, "{read} bytes read for {wanted}: operations.md says that all is read");
    }
}
