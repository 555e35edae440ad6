//! Workers that come back while their object store does not answer, or not yet.

use std::{fs, path::PathBuf, time::Duration};

use penstock_shuffle_client::FetchError;
use penstock_shuffle_service::worker::{Config, Fsync, Tier};

use crate::{
    cluster::{SHUFFLE, Worker, eventually},
    s3_faults::{Fault, Operation},
    s3_server::{S3Server, s3_server},
    tiers::{Tiers, quota, tiers},
    watch::Watch,
};

async fn on(server: &S3Server, configure: impl FnOnce(&mut Config)) -> Tiers {
    tiers(
        |config| {
            config.object_store = server.location();
            config.create_in = Tier::Disk;
            config.fsync = Fsync::Commit;
            config.disks = quota(20 << 20);
            configure(config);
        },
        u64::MAX,
    )
    .await
}

/// The next life after a kill.
async fn restart(tiers: &Tiers) -> Worker {
    let worker = &tiers.cluster.workers[0];
    tiers.cluster.restart(worker, worker.disk.after_kill().into()).await
}

fn data_files(worker: &Worker) -> Vec<PathBuf> {
    worker.disk.files().into_iter().filter(|file| !file.ends_with("manifest")).collect()
}

/// Puts objects into the store that no manifest names.
fn forget(server: &S3Server, names: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let put = |name| {
        let file = server.file(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "forgotten").unwrap();
        file
    };
    names.into_iter().map(put).collect()
}

#[tokio::test]
async fn a_worker_serves_what_is_on_its_disks_while_its_store_does_not_answer() {
    let server = s3_server().await;
    let tiers = on(&server, |config| config.object_store_timeout_ms = 3_600_000).await;
    let source = tiers.write(SHUFFLE).await;
    server.faults.always(Operation::List, Fault::Hang);
    let _again = tokio::time::timeout(Duration::from_secs(30), restart(&tiers)).await.expect("it starts");
    tiers.assert_readable(SHUFFLE, &source).await;
}

#[tokio::test]
async fn an_object_that_is_gone_is_an_error_with_a_name_for_its_readers_and_told_to_the_operator() {
    let watch = Watch::start();
    let server = s3_server().await;
    let tiers = on(&server, |config| config.create_in = Tier::Object).await;
    let source = tiers.write(SHUFFLE).await;
    fs::remove_file(&server.objects()[0].0).unwrap();
    let _again = restart(&tiers).await;
    let error = tiers.try_read(SHUFFLE, &source).await.unwrap_err();
    assert!(matches!(error, FetchError::Lost { .. }), "{error}");
    let is_told = |line: &String| line.contains("missing=1 ");
    eventually("the log says so", async || watch.warnings().iter().any(is_told)).await;
}

#[tokio::test]
async fn what_former_lives_left_in_the_store_is_deleted_when_the_store_is_back() {
    let server = s3_server().await;
    let tiers = on(&server, |config| config.object_store_timeout_ms = 100).await;
    let forgotten = forget(&server, ["w0/1/job/0-0/0-0-0".into(), "w0/job/0-0/0-0-0".into()]);
    let others = forget(&server, ["w01/1/job/0-0/0-0-0".into()]);
    server.faults.always(Operation::List, Fault::Broken);
    let _again = restart(&tiers).await;
    eventually("listing fails", async || server.faults.injected() > 8).await;
    assert!(forgotten.iter().all(|file| file.exists()));
    server.faults.heal();
    eventually("they go", async || !forgotten.iter().any(|file| file.exists())).await;
    assert!(others.iter().all(|file| file.exists()), "another worker's");
}

// Invariant 28: the deletion of what a former life left may come late, when this life has moved the same data again.
#[tokio::test]
async fn what_moves_to_the_store_outlives_the_deletion_of_what_a_former_life_left_there() {
    let server = s3_server().await;
    let tiers = on(&server, |config| config.object_store_timeout_ms = 2000).await;
    let source = tiers.write(SHUFFLE).await;
    // As if it had been killed between the upload of its parts and the manifests that name them.
    let files = data_files(&tiers.cluster.workers[0]);
    let numbered = |number: u32| files.iter().map(move |file| format!("{}-{number}", file.display()));
    let names: Vec<PathBuf> = (0..10).flat_map(numbered).map(PathBuf::from).collect();
    let below = names.iter().map(|name| name.strip_prefix("data").unwrap().to_owned());
    let forgotten = forget(&server, below);
    server.faults.always(Operation::Delete, Fault::Hang);
    let again = restart(&tiers).await;
    eventually("the deletion begins", async || server.faults.requests(Operation::Delete) > 0).await;
    let moving = Config { evict_from_percent: 40, evict_to_percent: 5, ..again.config.clone() };
    again.handle.reload(moving).unwrap();
    eventually("the data moves", async || data_files(&again).is_empty()).await;
    server.faults.heal();
    eventually("the deletion ends", async || !forgotten.iter().any(|file| file.exists())).await;
    tiers.assert_readable(SHUFFLE, &source).await;
}
