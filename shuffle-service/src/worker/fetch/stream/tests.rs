//! What a reader gets while what it reads moves.
#![allow(clippy::unwrap_used)]

use std::{path::Path, time::Duration};

use penstock_common::lifecycle::Tasks;
use penstock_protocol::{
    frame::{BatchHeader, Open},
    ids::{AttemptNumber, BatchId, Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, StageId},
    token::JobToken,
};
use uuid::Uuid;

use super::*;
use crate::{
    disk::{Disk, MemoryDisk},
    worker::{
        config::Config,
        disks::Disks,
        memory::{Budget, Charge},
        settings::Settings,
        write_out::{Flushed, Named},
    },
};

const LIFE: Incarnation = Incarnation(5);
const BYTES_MAX: u64 = 1 << 20;
const SHUFFLE: ShuffleId = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(0), run: 0 };
const KEY: (PartitionIndex, Epoch) = (PartitionIndex(0), Epoch(0));

/// A location with one batch that is committed and on the disk.
async fn committed(disk: &Arc<MemoryDisk>) -> (Arc<Store>, Arc<Location>, Bytes) {
    let config = Config::default();
    let disks = Disks::new(&config, &"w".into(), disk.clone(), Tasks::new("test"));
    disks.volumes.iter().for_each(|volume| volume.measured(1 << 40, 0));
    let budget = Budget::new(&config);
    let none = Charge::none(&budget);
    let store = Arc::new(Store::new("w".into(), LIFE, budget, disks.into(), None, Settings::new(config)));
    store.reserve(SHUFFLE, &[KEY], crate::worker::location::Placement::default()).unwrap();
    let location = store.location(LIFE, SHUFFLE, KEY).unwrap();
    let header = BatchHeader::of(TaskIndex(0), AttemptNumber(0), BatchId(0), 1, b"payload");
    let batch = Bytes::from([&header.encode()[..], b"payload"].concat());
    location.append(batch.clone(), none).unwrap();
    let named = Named { shuffle: SHUFFLE, key: KEY, location: Arc::clone(&location) };
    assert_eq!(store.write_out(named).await, Flushed::Freed);
    location.commit(Duration::from_secs(30)).await;
    (store, location, batch)
}

fn stream(store: &Store, borrows: bool) -> OutgoingStream {
    let open = Open {
        stream: 0,
        incarnation: LIFE,
        shuffle: SHUFFLE,
        token: JobToken::NONE,
        partition: KEY.0,
        epoch: KEY.1,
        offset: 0,
        credit: 1000,
        borrows,
        maps: None,
    };
    OutgoingStream::new(open, store)
}

// Invariants 21 and 28: a reader that was told of a place finds what has moved away from it since.
#[tokio::test]
async fn what_moves_between_the_answer_and_the_opening_is_read_where_it_is_now() {
    let disk = Arc::new(MemoryDisk::default());
    let (store, location, batch) = committed(&disk).await;
    let mut stream = stream(&store, false);
    let held = disk.hold_next_open();
    let mut next = Box::pin(stream.next(&store, BYTES_MAX));
    assert!(futures::poll!(&mut next).is_pending(), "it opens the file");

    let part = location.parts().remove(0);
    assert!(location.begin_move(&part));
    let moved = Path::new("elsewhere");
    disk.write_at(moved, 0, vec![batch.clone()]).await.unwrap();
    assert!(location.end_move(&part, Some(Place::Disk { disk: 0, file: moved.to_owned() })));
    let Place::Disk { file, .. } = &part.place else { panic!("it was on a disk") };
    disk.remove_file(file).await.unwrap();

    drop(held);
    let Next::Batches { batches, .. } = next.await else { panic!("it is still there") };
    assert_eq!(batches, [batch]);
    assert!(matches!(stream.next(&store, BYTES_MAX).await, Next::End));
}

// Each wait counts against the disk.
#[tokio::test(start_paused = true)]
async fn a_file_that_does_not_open_is_waited_for_once_whoever_may_borrow_it() {
    for borrows in [false, true] {
        let disk = Arc::new(MemoryDisk::default());
        let (store, ..) = committed(&disk).await;
        let _held = disk.hold_next_open();
        let next = stream(&store, borrows).next(&store, BYTES_MAX).await;
        assert!(matches!(next, Next::Refused(Refusal::Unreadable, _)));
    }
}
