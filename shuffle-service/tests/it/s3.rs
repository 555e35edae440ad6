//! The object store tier on a server that speaks S3 and checks signatures.

use penstock_common::bytes::ByteSize;
use penstock_protocol::shuffle::CommitVerdict;
use penstock_shuffle_service::worker::{Fsync, Tier};

use crate::{
    cluster::{JOB, SHUFFLE, eventually, payload, winner},
    http::get,
    s3_server::{SECRET, s3_server},
    tiers::{Tiers, tiers},
    watch::Watch,
};

async fn on(location: String, create_in: Tier) -> Tiers {
    tiers(
        |config| {
            config.object_store = location;
            config.create_in = create_in;
            config.fsync = Fsync::Commit;
            config.admin_listen = "127.0.0.1:0".into();
            (config.evict_from_percent, config.evict_to_percent) = (40, 5);
            config.disks = crate::tiers::quota(20 << 20);
        },
        u64::MAX,
    )
    .await
}

#[tokio::test]
async fn s3_holds_new_data_through_a_restart_until_the_job_ends() {
    let server = s3_server().await;
    let tiers = on(server.location(), Tier::Object).await;
    let source = tiers.write(SHUFFLE).await;
    assert!(!server.objects().is_empty());
    assert_eq!(tiers.data_files(), 0);
    tiers.assert_readable(SHUFFLE, &source).await;
    let shown = get(tiers.cluster.master.admin.unwrap(), "/api/v1/workers/w0/settings").await;
    assert_eq!(shown["object_store"], "s3://bucket/shuffle?******", "its keys are not for everybody");
    let worker = &tiers.cluster.workers[0];
    let _again = tiers.cluster.restart(worker, worker.disk.after_power_loss().into()).await;
    tiers.assert_readable(SHUFFLE, &source).await;
    tiers.cluster.owner.release_job(JOB).await.unwrap();
    eventually("the objects go", async || server.objects().is_empty()).await;
}

#[tokio::test]
async fn s3_takes_what_a_full_disk_gives_away() {
    let server = s3_server().await;
    let tiers = on(server.location(), Tier::Memory).await;
    let source = tiers.write(SHUFFLE).await;
    eventually("the data moves", async || tiers.data_files() == 0).await;
    assert!(!server.objects().is_empty());
    tiers.assert_readable(SHUFFLE, &source).await;
}

// Each request has its time: a large one over a slow line would never end in it.
#[tokio::test]
async fn s3_gets_large_parts_in_pieces() {
    let server = s3_server().await;
    let tiers = tiers(
        |config| {
            config.object_store = server.location();
            config.memory_bytes_max = ByteSize::mib(512);
            config.create_in = Tier::Object;
            config.fsync = Fsync::Commit;
        },
        u64::MAX,
    )
    .await;
    let target = tiers.cluster.reserve(SHUFFLE, 1).await;
    let payloads: Vec<_> = (0..10).map(|batch| payload(0, 0, batch, 2_000_000)).collect();
    let batches = payloads.iter().map(|payload| (0, payload.clone()));
    let output = tiers.cluster.write(&target, 0, 0, batches).await.unwrap();
    let source = tiers.cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0);
    let largest = server.objects().iter().map(|(_, bytes)| *bytes).max().unwrap();
    assert!(largest > 16 << 20, "{largest}");
    assert!(server.faults.largest_bytes() <= 8 << 20, "{}", server.faults.largest_bytes());
    let read = tiers.cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap();
    assert!(read == payloads);
}

// What an operator has to change stands in the answer to the commit and in the log; the secret stands nowhere.
#[tokio::test]
async fn a_store_that_refuses_the_worker_is_told_with_what_to_do_and_without_the_secret() {
    let watch = Watch::start();
    let server = s3_server().await;
    let wrong = "not-the-secret";
    let tiers = on(server.location_with(wrong), Tier::Object).await;
    let target = tiers.cluster.reserve(SHUFFLE, 1).await;
    tiers.cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
    let verdicts = tiers.cluster.commit(&target, &[winner(0, 0)]).await;
    let CommitVerdict::Failed { reason } = &verdicts[0].1 else { panic!("{verdicts:?}") };
    assert!(reason.contains("check its keys") && reason.contains("SignatureDoesNotMatch"), "{reason}");
    assert!(!reason.contains(wrong) && !reason.contains(SECRET), "{reason}");
    let is_told = |line: &String| line.contains("former lives") && line.contains("check its keys");
    eventually("the log says so", async || watch.warnings().iter().any(is_told)).await;
    let logged = watch.everything_logged();
    assert!(!logged.contains(wrong) && !logged.contains(SECRET), "{logged}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_when_the_worker_starts() {
    let watch = Watch::start();
    let server = s3_server().await;
    let _tiers = on(server.location().replace("s3://bucket/", "s3://other-bucket/"), Tier::Memory).await;
    eventually("the log says so", async || watch.warnings().join("\n").contains("no such bucket")).await;
}
