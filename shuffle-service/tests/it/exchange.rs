//! Whole exchanges without faults.

use bytes::Bytes;
use futures::StreamExt;
use penstock_common::bytes::ByteSize;
use penstock_protocol::{
    ids::PartitionIndex,
    shuffle::{CommitVerdict, PartitionTotals},
};
use penstock_shuffle_client::{ClientOptions, FetchError, PushError, owner::MapEnds};

use crate::cluster::{SHUFFLE, Setup, by_partition, cluster, payload, shuffle, winner};

fn batches(map: u32, partitions: u32, per_partition: u32, length: usize) -> Vec<(u32, Bytes)> {
    (0..per_partition)
        .flat_map(|batch| {
            (0..partitions).map(move |partition| (partition, payload(map, partition, batch, length)))
        })
        .collect()
}

/// Three maps, five partitions, written and read at the same sizes; returns the number of disk writes.
async fn round_trip(setup: Setup, per_partition: u32, length: usize) -> u64 {
    let cluster = cluster(setup).await;
    let target = cluster.reserve(SHUFFLE, 5).await;
    let written: Vec<_> = (0..3).map(|map| batches(map, 5, per_partition, length)).collect();
    let maps = written.iter().zip(0..).map(|(batches, map)| cluster.write(&target, map, 0, batches.clone()));
    let outputs: Vec<_> = futures::future::join_all(maps).await.into_iter().map(Result::unwrap).collect();
    let winners = [0, 1, 2].map(|map| winner(map, 0));
    let sources = cluster.sources(&target, &winners, &outputs).await;
    let reads = sources.into_iter().map(|source| cluster.read(SHUFFLE, &winners, source));
    for (partition, read) in (0..).zip(futures::future::join_all(reads).await) {
        let read = read.unwrap();
        assert_eq!(read.len(), 3 * per_partition as usize);
        // Maps are interleaved; the batches of each map come in their order.
        for (map, batches) in (0_u32..).zip(&written) {
            let of_map: Vec<_> =
                read.iter().filter(|batch| batch.starts_with(&map.to_le_bytes())).cloned().collect();
            assert_eq!(of_map, by_partition(batches)[&partition]);
        }
    }
    cluster.disk_writes()
}

// Invariant 1, one copy: what was acknowledged is there.
#[tokio::test]
async fn what_maps_push_is_what_reducers_read_and_a_small_shuffle_touches_no_disk() {
    assert_eq!(round_trip(Setup::default(), 4, 300).await, 0);
}

#[tokio::test]
async fn a_shuffle_larger_than_memory_goes_through_the_disk_and_back() {
    let setup = Setup { memory: ByteSize::mib(8), ..Setup::default() };
    let writes = round_trip(setup, 40, 100_000).await;
    assert!(writes > 0);
}

#[tokio::test]
async fn batches_larger_than_frames_windows_and_credits_pass() {
    let options = ClientOptions {
        frame_bytes: 10_000,
        push_window_bytes: 20_000,
        push_bytes_total: 30_000,
        fetch_bytes_total: 1,
        fetch_stream_bytes_min: 1000,
        fetch_stream_bytes_max: 1000,
        ..ClientOptions::default()
    };
    let setup = Setup { memory: ByteSize::mib(8), options, ..Setup::default() };
    round_trip(setup, 8, 500_000).await;
}

#[tokio::test]
async fn very_small_batches_pass_in_merged_frames() {
    round_trip(Setup::default(), 2000, 13).await;
}

// Invariants 9 and 12 end to end: readers take only the winner's batches, whatever else was stored.
#[tokio::test]
async fn batches_of_losing_attempts_are_never_read() {
    let cluster = cluster(Setup::default()).await;
    let target = cluster.reserve(SHUFFLE, 2).await;
    let mut ends = MapEnds::new(1);
    for number in [4, 2] {
        let output = cluster.write(&target, 0, number, batches(number, 2, 3, 50)).await.unwrap();
        ends.record(winner(0, number).map, winner(0, number).attempt, output);
    }
    // One that never ends and whose batches were pushed nevertheless.
    let mut unfinished = cluster.writer(&target, 0, 5).await;
    unfinished.push(PartitionIndex(0), 1, Bytes::from_static(b"never seen")).await.unwrap();
    drop(unfinished);
    let (winners, outputs) = ends.complete().unwrap();
    let outputs: Vec<_> = outputs.into_iter().cloned().collect();
    for source in cluster.sources(&target, &winners, &outputs).await {
        let expected = by_partition(&batches(4, 2, 3, 50)).remove(&source.partition.0);
        assert_eq!(cluster.read(SHUFFLE, &winners, source).await.unwrap(), expected.unwrap());
    }
}

// Invariant 22: empty is an answer of its own.
#[tokio::test]
async fn a_partition_without_batches_is_proved_empty_and_reads_as_empty() {
    let cluster = cluster(Setup::default()).await;
    let target = cluster.reserve(SHUFFLE, 3).await;
    let output = cluster.write(&target, 0, 0, [(1, payload(0, 1, 0, 10))]).await.unwrap();
    let verdicts = cluster.commit(&target, &[winner(0, 0)]).await;
    assert_eq!(verdicts[0].1, CommitVerdict::Empty);
    assert!(matches!(verdicts[1].1, CommitVerdict::Committed { .. }));
    let mut sources = cluster.sources(&target, &[winner(0, 0)], &[output]).await;
    assert_eq!(sources[2].locations, []);
    sources[2].locations.push(target.locations[2].clone());
    assert_eq!(cluster.read(SHUFFLE, &[winner(0, 0)], sources.remove(2)).await.unwrap(), Vec::<Bytes>::new());
}

// Invariant 23: rows and checksum read equal what the winners reported, or it is a failure.
#[tokio::test]
async fn totals_that_do_not_match_are_a_loss_and_never_fewer_rows() {
    let cluster = cluster(Setup::default()).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let output = cluster.write(&target, 0, 0, batches(0, 1, 3, 50)).await.unwrap();
    let source = cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0);
    let wrong: [fn(&mut PartitionTotals); 4] = [
        |totals| totals.rows += 1,
        |totals| totals.bytes -= 1,
        |totals| totals.batches += 1,
        |totals| totals.checksum ^= 1,
    ];
    for change in wrong {
        let mut source = source.clone();
        change(&mut source.totals);
        let error = cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap_err();
        assert!(matches!(error, FetchError::Lost { .. }), "{error}");
    }
    let other_winners = cluster.read(SHUFFLE, &[winner(0, 1)], source.clone()).await;
    assert!(matches!(other_winners, Err(FetchError::Lost { .. })));
    assert_eq!(cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap().len(), 3);
}

// Invariant 10: an attempt whose push failed cannot report its end.
#[tokio::test]
async fn a_writer_whose_push_failed_does_not_finish() {
    let cluster = cluster(Setup::default()).await;
    let mut target = (*cluster.reserve(SHUFFLE, 2).await).clone();
    target.shuffle = shuffle(9);
    let target = target.into();
    let mut writer = cluster.writer(&target, 0, 0).await;
    writer.push(PartitionIndex(0), 1, Bytes::from_static(b"x")).await.unwrap();
    let error = writer.finish().await.unwrap_err();
    assert!(matches!(error, PushError::Lost { .. }), "{error}");
}

#[tokio::test]
async fn many_streams_of_one_worker_share_a_connection_and_may_be_left_in_any_state() {
    let cluster = cluster(Setup { workers: 1, ..Setup::default() }).await;
    let target = cluster.reserve(SHUFFLE, 40).await;
    let output = cluster.write(&target, 0, 0, batches(0, 40, 3, 200_000)).await.unwrap();
    let winners = [winner(0, 0)];
    let sources = cluster.sources(&target, &winners, &[output]).await;
    let mut streams: Vec<_> = sources
        .iter()
        .map(|source| Box::pin(cluster.client.read(SHUFFLE, winners.into(), source.clone())))
        .collect();
    for stream in &mut streams {
        stream.next().await.unwrap().unwrap();
    }
    // Every second reader goes away with data on its way; the others are not disturbed.
    let mut position = 0;
    streams.retain(|_| {
        position += 1;
        position % 2 == 0
    });
    for mut stream in streams {
        let mut rest = 0;
        while let Some(batch) = stream.next().await {
            batch.unwrap();
            rest += 1;
        }
        assert_eq!(rest, 2);
    }
}
