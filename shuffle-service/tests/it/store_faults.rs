//! An object store that goes wrong: what is read is what was written, or there is an error with a name; and the worker goes on
//! with what is on its disks.

use std::pin::pin;

use penstock_shuffle_client::{ClientOptions, FetchError};
use penstock_shuffle_service::worker::{Config, Fsync, Tier};

use crate::{
    cluster::{JOB, SHUFFLE, Setup, eventually, payload, shuffle, winner},
    s3_faults::{Fault, Operation},
    s3_server::{S3Server, s3_server},
    tiers::{Tiers, quota, tiers_with},
    watch::Watch,
};

const ALL: [Fault; 6] =
    [Fault::Busy, Fault::Broken, Fault::Slow, Fault::Hang, Fault::CutRequest, Fault::CutAnswer];
const LASTING: [Fault; 4] = [Fault::Busy, Fault::Hang, Fault::CutRequest, Fault::CutAnswer];
const OPERATIONS: [Operation; 4] = [Operation::Upload, Operation::Read, Operation::List, Operation::Delete];
/// Tries of a call.
const TRIES: u32 = 4;

/// A worker that puts new data into the store, or moves it there from its disk.
async fn on(server: &S3Server, create_in: Tier, configure: impl FnOnce(&mut Config)) -> Tiers {
    on_with(Setup::default().options, server, create_in, configure).await
}

async fn on_with(
    options: ClientOptions,
    server: &S3Server,
    create_in: Tier,
    configure: impl FnOnce(&mut Config),
) -> Tiers {
    tiers_with(
        options,
        |config| {
            config.object_store = server.location();
            config.object_store_timeout_ms = 2000;
            config.create_in = create_in;
            config.fsync = Fsync::Commit;
            (config.evict_from_percent, config.evict_to_percent) = (40, 5);
            config.disks = quota(20 << 20);
            configure(config);
        },
        u64::MAX,
    )
    .await
}

/// With time enough for tries that hang.
fn soon(config: &mut Config) {
    config.object_store_timeout_ms = 800;
}

#[tokio::test]
async fn faults_that_pass_within_the_tries_of_a_call_cost_time_and_nothing_else() {
    for fault in ALL {
        let server = s3_server().await;
        let tiers = on(&server, Tier::Object, |_| {}).await;
        for operation in OPERATIONS {
            server.faults.add(operation, if fault == Fault::Hang { 1 } else { TRIES - 1 }, fault);
        }
        let source = tiers.write(SHUFFLE).await;
        assert_eq!(tiers.data_files(), 0);
        tiers.assert_readable(SHUFFLE, &source).await;
        tiers.cluster.owner.release_job(JOB).await.unwrap();
        eventually("the objects go", async || server.objects().is_empty()).await;
        assert!(server.faults.injected() > 2, "{fault:?}");
    }
}

#[tokio::test]
async fn what_the_store_does_not_take_is_not_committed_and_the_worker_goes_on() {
    for fault in LASTING {
        let server = s3_server().await;
        let tiers = on(&server, Tier::Object, soon).await;
        server.faults.always(Operation::Upload, fault);
        let watch = Watch::start();
        let error = tiers.try_write(SHUFFLE).await.unwrap_err();
        assert!(watch.counter("penstock_shuffle_object_call_failures_total", "write") > 0);
        drop(watch);
        server.faults.heal();
        let source =
            tiers.try_write(shuffle(1)).await.unwrap_or_else(|later| panic!("{error}, then {later}"));
        tiers.assert_readable(shuffle(1), &source).await;
    }
}

// What was promised stays where it is until it is whole in the store.
#[tokio::test]
async fn what_cannot_be_moved_is_served_from_its_disk_and_moves_when_the_store_is_back() {
    for fault in LASTING {
        let server = s3_server().await;
        server.faults.always(Operation::Upload, fault);
        let tiers = on(&server, Tier::Disk, soon).await;
        let source = tiers.write(SHUFFLE).await;
        let tries = TRIES as usize;
        eventually("moving fails twice", async || server.faults.requests(Operation::Upload) > 2 * tries)
            .await;
        assert!(tiers.data_files() > 0);
        tiers.assert_readable(SHUFFLE, &source).await;
        server.faults.heal();
        eventually("the data moves", async || tiers.data_files() == 0).await;
        tiers.assert_readable(SHUFFLE, &source).await;
    }
}

#[tokio::test]
async fn what_was_released_while_the_store_was_away_goes_when_it_is_back() {
    for fault in LASTING {
        let server = s3_server().await;
        let tiers = on(&server, Tier::Object, soon).await;
        tiers.write(SHUFFLE).await;
        assert!(!server.objects().is_empty());
        server.faults.always(Operation::Delete, fault);
        tiers.cluster.owner.release_job(JOB).await.unwrap();
        let tries = TRIES as usize;
        eventually("it is tried again", async || server.faults.requests(Operation::Delete) > tries).await;
        server.faults.heal();
        eventually("the objects go", async || server.objects().is_empty()).await;
    }
}

#[tokio::test]
async fn nothing_stays_of_an_upload_that_took_effect_unheard() {
    let server = s3_server().await;
    server.faults.always(Operation::Upload, Fault::CutAnswer);
    server.faults.always(Operation::Delete, Fault::Broken);
    let tiers = on(&server, Tier::Object, soon).await;
    tiers.try_write(SHUFFLE).await.unwrap_err();
    assert!(!server.objects().is_empty());
    server.faults.heal();
    eventually("the objects go", async || server.objects().is_empty()).await;
}

// Invariant 28: the deletion comes late, when the same data has moved again.
#[tokio::test]
async fn what_moved_again_outlives_the_deletion_of_what_moved_unheard() {
    let server = s3_server().await;
    server.faults.add(Operation::Upload, TRIES, Fault::CutAnswer);
    server.faults.always(Operation::Delete, Fault::Hang);
    let small = |config: &mut Config| {
        soon(config);
        config.disks = quota(1 << 20);
    };
    let tiers = on(&server, Tier::Disk, small).await;
    let target = tiers.cluster.reserve(SHUFFLE, 1).await;
    let payloads: Vec<_> = (0..5).map(|batch| payload(0, 0, batch, 100_000)).collect();
    let batches = payloads.iter().map(|payload| (0, payload.clone()));
    let output = tiers.cluster.write(&target, 0, 0, batches).await.unwrap();
    let source = tiers.cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0);
    eventually("the data moves", async || tiers.data_files() == 0).await;
    assert_eq!(server.objects().len(), 2);
    server.faults.heal();
    eventually("the first one goes", async || server.objects().len() < 2).await;
    assert!(tiers.cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap() == payloads);
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_with_a_name_until_the_store_is_back() {
    for fault in LASTING {
        let server = s3_server().await;
        let tiers = on(&server, Tier::Object, soon).await;
        let source = tiers.write(SHUFFLE).await;
        server.faults.always(Operation::Read, fault);
        let error = tiers.try_read(SHUFFLE, &source).await.unwrap_err();
        assert!(matches!(error, FetchError::Unavailable { .. }), "{fault:?}: {error}");
        server.faults.heal();
        tiers.assert_readable(SHUFFLE, &source).await;
    }
}

// Nothing is lost, so no stage runs again.
#[tokio::test]
async fn a_store_that_is_away_costs_readers_time_and_nothing_else() {
    for fault in LASTING {
        let server = s3_server().await;
        let options = ClientOptions {
            connect_tries: 1,
            absence_ms: 0,
            outage_ms: 3_600_000,
            ..ClientOptions::default()
        };
        let tiers = on_with(options, &server, Tier::Object, soon).await;
        let source = tiers.write(SHUFFLE).await;
        server.faults.always(Operation::Read, fault);
        let mut read = pin!(tiers.try_read(SHUFFLE, &source));
        let is_asked_again = async || server.faults.requests(Operation::Read) > 2 * TRIES as usize;
        tokio::select! {
            biased;
            read = &mut read => panic!("{read:?} although the store is away: {fault:?}"),
            () = eventually("it is asked again", is_asked_again) => {}
        }
        server.faults.heal();
        read.await.unwrap();
    }
}

// Its worker shows that it is alive. No reader asks twice here.
#[tokio::test]
async fn a_read_that_takes_longer_than_a_worker_may_be_silent_is_waited_for() {
    let server = s3_server().await;
    let options = ClientOptions {
        answer_timeout_ms: 1500,
        connect_tries: 1,
        absence_ms: 0,
        outage_ms: 0,
        ..ClientOptions::default()
    };
    let slow = |config: &mut Config| config.object_store_timeout_ms = 12_000;
    let tiers = on_with(options, &server, Tier::Object, slow).await;
    let source = tiers.write(SHUFFLE).await;
    server.faults.add(Operation::Read, 1, Fault::Hang);
    tiers.assert_readable(SHUFFLE, &source).await;
    assert_eq!(server.faults.injected(), 1);
}

// The object is nobody's by the time it is there.
#[tokio::test]
async fn what_is_on_its_way_to_the_store_when_it_is_released_does_not_stay_there() {
    let watch = Watch::start();
    let server = s3_server().await;
    let tiers = on(&server, Tier::Object, |config| config.object_store_timeout_ms = 60_000).await;
    server.faults.always(Operation::Upload, Fault::Held);
    {
        let mut write = pin!(tiers.try_write(SHUFFLE));
        tokio::select! {
            written = &mut write => panic!("{written:?} although the store takes nothing"),
            () = eventually("an upload begins", async || server.faults.requests(Operation::Upload) > 0) => {}
        }
    }
    tiers.cluster.owner.release_shuffle(SHUFFLE).await;
    assert_eq!(server.objects(), []);
    watch.counters();
    server.faults.heal();
    let mut flushed = 0;
    eventually("the upload ends", async || {
        flushed += watch.total("penstock_shuffle_flushed_bytes_total");
        flushed > 0
    })
    .await;
    eventually("the object goes", async || server.objects().is_empty()).await;
}

/// Writes, moves, starts again and reads on a store that goes wrong by chance; what was read and what was not.
async fn by_chance(seed: u64) -> (u64, u64, u64) {
    let server = s3_server().await;
    let create_in = if seed.is_multiple_of(2) { Tier::Object } else { Tier::Memory };
    let tiers = on(&server, create_in, soon).await;
    server.faults.by_chance(seed, 35, &ALL);
    let Ok(source) = tiers.try_write(SHUFFLE).await else { return (0, 1, server.faults.injected()) };
    if create_in == Tier::Memory {
        eventually("the data moves", async || tiers.data_files() == 0).await;
    }
    let worker = &tiers.cluster.workers[0];
    let _again = tiers.cluster.restart(worker, worker.disk.after_power_loss().into()).await;
    let read = tiers.try_read(SHUFFLE, &source).await;
    if read.is_err() {
        // It was promised, so it is there.
        server.faults.heal();
        tiers.assert_readable(SHUFFLE, &source).await;
    }
    (u64::from(read.is_ok()), u64::from(read.is_err()), server.faults.injected())
}

#[tokio::test]
async fn whatever_a_store_does_what_is_read_is_what_was_written() {
    let (mut read, mut failed, mut injected) = (0, 0, 0);
    for seed in 0..16 {
        let (is_read, has_failed, faults) = by_chance(seed).await;
        (read, failed, injected) = (read + is_read, failed + has_failed, injected + faults);
    }
    // Odds at which nothing ever goes wrong, or nothing ever works, would prove nothing.
    assert!(read > 0 && failed > 0 && injected > 50, "{read} read, {failed} failed, {injected} faults");
}
