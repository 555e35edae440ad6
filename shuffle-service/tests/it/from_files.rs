//! Fetches from a real disk: readers get what was written, and not more of it than they gave credit for.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use penstock_common::{
    bytes::ByteSize,
    clock::SystemClock,
    lifecycle::Tasks,
    net::{Network, Stream, Tcp},
};
use penstock_protocol::{
    build,
    frame::{
        Batches, Credit, Data, End, FRAME_BYTES_MAX, Frame, Hello, Kind, Open, Purpose, read_frame, write_all,
    },
    ids::{Epoch, PartitionIndex, TaskIndex},
    shuffle::{PartitionSource, WorkerAddress},
    token::JobToken,
};
use penstock_shuffle_client::owner::totals_of;
use penstock_shuffle_service::worker::{self, Config, Handle};

use crate::cluster::{Cluster, SHUFFLE, Setup, by_partition, cluster, payload, winner};

const PARTITIONS: u32 = 2;

/// A cluster whose only worker stores on a disk of this machine, and little in memory.
async fn on_disk(folder: &std::path::Path) -> (Cluster, Handle) {
    let cluster = cluster(Setup { workers: 0, ..Setup::default() }).await;
    let config = Config {
        name: "w0".into(),
        admin_listen: String::new(),
        masters: vec![cluster.master.control.to_string()],
        data_dirs: vec![folder.to_owned()],
        memory_bytes_max: ByteSize::mib(16),
        disk_reserve_bytes: ByteSize(0),
        heartbeat_interval_ms: 20,
        ..Config::default()
    };
    let handle =
        worker::start(config, Arc::new(Tcp), Arc::new(SystemClock), Tasks::new("worker")).await.unwrap();
    handle.registered().await;
    (cluster, handle)
}

/// Batches of very different sizes, 16 MiB together.
fn batches(map: u32) -> Vec<(u32, Bytes)> {
    let lengths = [1, 700, 70_000, 12, 300_000, 1_500_000, 20, 90_000].into_iter().cycle();
    let batches = (0..66).zip(lengths);
    batches
        .map(|(batch, length)| (batch % PARTITIONS, payload(map, batch % PARTITIONS, batch, length)))
        .collect()
}

#[tokio::test]
async fn what_is_read_from_a_disk_is_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, _worker) = on_disk(folder.path()).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let (winners, all) = ([winner(0, 0), winner(1, 0)], [batches(0), batches(1)]);
    let mut outputs = Vec::new();
    for (map, batches) in (0..).zip(&all) {
        // What a losing attempt left lies in between.
        cluster.write(&target, map, 7, batches[..9].to_vec()).await.unwrap();
        outputs.push(cluster.write(&target, map, 0, batches.clone()).await.unwrap());
    }
    let expected = by_partition(&all.concat());
    let sources = cluster.sources(&target, &winners, &outputs).await;
    for source in sources {
        let partition = source.partition.0;
        let mut read = cluster.read(SHUFFLE, &winners, source.clone()).await.unwrap();
        assert_eq!(read, expected[&partition]);
        // Readers of some maps get some of a file.
        let mut of_maps = Vec::new();
        for map in 0..2 {
            let maps = TaskIndex(map)..TaskIndex(map + 1);
            let totals = totals_of(source.partition, [&outputs[map as usize]]);
            let source = PartitionSource { totals, ..source.clone() };
            let batches: Vec<Bytes> = cluster
                .client
                .read_maps(SHUFFLE, &winners, source, maps, Arc::default())
                .try_collect()
                .await
                .unwrap();
            of_maps.extend(batches);
        }
        read.sort();
        of_maps.sort();
        assert_eq!(of_maps, read);
    }
}

/// A stream of all of partition 0, by hand.
async fn open(worker: &WorkerAddress, credit: u32) -> Stream {
    let mut stream = Tcp.connect(&worker.data).await.unwrap();
    let incarnation = worker.incarnation;
    let hello = Hello { purpose: Purpose::Fetch, incarnation, build: build().into() };
    let open = Open {
        stream: 1,
        incarnation,
        shuffle: SHUFFLE,
        token: JobToken::NONE,
        partition: PartitionIndex(0),
        epoch: Epoch(0),
        offset: 0,
        credit,
        maps: None,
        borrows: false,
    };
    write_all(&mut stream, &[hello.encode(), open.encode()]).await.unwrap();
    stream
}

#[tokio::test]
async fn a_reader_without_credit_is_sent_nothing() {
    const LENGTH: usize = 70_000;
    let folder = tempfile::tempdir().unwrap();
    let (cluster, worker) = on_disk(folder.path()).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let batches: Vec<_> = (0..400).map(|batch| (0, payload(0, 0, batch, LENGTH))).collect();
    cluster.write(&target, 0, 0, batches.clone()).await.unwrap();
    cluster.commit(&target, &[winner(0, 0)]).await;

    let granted = 1_000_000;
    let mut stream = open(&worker.address, granted).await;
    let (mut credit, mut came) = (i64::from(granted), Vec::new());
    loop {
        let Frame { kind, body } = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
        match kind {
            Kind::Data => {
                assert!(credit > 0, "it waits for credit");
                let data = Data::parse(body).unwrap();
                credit -= data.batches.len() as i64;
                assert!(credit > -2 * LENGTH as i64, "it overdraws by one batch");
                came.extend(Batches::new(data.batches).map(|batch| batch.unwrap().payload()));
            }
            Kind::End => {
                assert_eq!(End::parse(body).unwrap().refused, None);
                break;
            }
            _ => {}
        }
        if credit <= 0 {
            write_all(&mut stream, &[Credit { stream: 1, bytes: granted }.encode()]).await.unwrap();
            credit += i64::from(granted);
        }
    }
    assert_eq!(came, batches.into_iter().map(|(_, payload)| payload).collect::<Vec<_>>());
}
