#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use penstock_common::{bytes::ByteSize, lifecycle::Tasks};
use penstock_protocol::ids::{Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, StageId};
use uuid::Uuid;

use super::*;
use crate::{
    disk::{Fault, FaultyDisk, MemoryDisk, Operation, Rule},
    worker::{
        config::Config,
        disks::Disks,
        memory::{Budget, Share},
        settings::Settings,
    },
};

const LIFE: Incarnation = Incarnation(5);
const SHUFFLE: ShuffleId = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(0), run: 0 };
const MIB: u64 = 1 << 20;

/// With 32 MiB of memory, of which flushing leaves 16 once it begins.
fn store(disk: Arc<FaultyDisk>, partitions: u32) -> Arc<Store> {
    let config = Config { memory_bytes_max: ByteSize::mib(64), flush_parallelism: 2, ..Config::default() };
    let disks = Disks::new(&config, &"w".into(), disk, Tasks::new("test"));
    disks.volumes.iter().for_each(|volume| volume.measured(1 << 40, 0));
    let budget = Budget::new(&config);
    let store = Arc::new(Store::new("w".into(), LIFE, budget, disks.into(), None, Settings::new(config)));
    let keys: Vec<_> = (0..partitions).map(|partition| (PartitionIndex(partition), Epoch(0))).collect();
    store.reserve(SHUFFLE, &keys, crate::worker::location::Placement::default()).unwrap();
    store
}

async fn append(store: &Arc<Store>, partition: u32, bytes: u64) {
    let location = store.location(LIFE, SHUFFLE, (PartitionIndex(partition), Epoch(0))).unwrap();
    let record = Bytes::from(vec![0; bytes as usize]);
    let charge = store.budget.take(Share::Replicas, record.len(), Duration::ZERO).await.unwrap();
    location.append(record, charge).unwrap();
}

/// Lets everything else go on until no more than this is in use.
async fn until_used(store: &Store, bytes: u64) {
    for _ in 0..100_000 {
        if store.budget.used() <= bytes {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} bytes are in use", store.budget.used());
}

#[tokio::test]
async fn other_writes_begin_while_one_hangs() {
    let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default())));
    let (operation, fault) = (Operation::Write, Fault::Hang);
    disk.add(Rule { below: "/".into(), operation, skip: 0, times: 1, fault });
    let store = store(Arc::clone(&disk), 24);
    for partition in 0..24 {
        append(&store, partition, MIB).await;
    }
    let flusher = Flusher { store: Arc::clone(&store) };
    let mut relieve = std::pin::pin!(flusher.relieve());
    for _ in 0..3 {
        tokio::select! {
            () = &mut relieve => panic!("a write goes on"),
            () = until_used(&store, 17 * MIB) => {}
        }
        assert_eq!(disk.injected(), 1);
        for partition in 0..24 {
            if store.budget.used() < 24 * MIB {
                append(&store, partition, MIB).await;
            }
        }
        store.budget.check_pressure();
    }
    disk.let_hanging_go();
    relieve.await;
    // Below the upper mark there is nothing to do, however much was written when it was looked at.
    let used = store.budget.used();
    assert!(used < 23 * MIB, "{used} bytes are in use");
}

#[tokio::test]
async fn a_large_location_is_written_piece_by_piece_and_no_further_than_needed() {
    let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default())));
    let store = store(disk, 1);
    for _ in 0..23 {
        append(&store, 0, MIB).await;
    }
    Flusher { store: Arc::clone(&store) }.relieve().await;
    let used = store.budget.used();
    assert!((15 * MIB..=16 * MIB).contains(&used), "{used} bytes are in use");
}
