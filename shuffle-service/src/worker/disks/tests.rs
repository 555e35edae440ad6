#![allow(clippy::unwrap_used)]

use std::path::Path;

use bytes::Bytes;
use penstock_common::bytes::ByteSize;

use super::*;
use crate::{
    disk::{Fault, FaultyDisk, MemoryDisk, Operation, Rule},
    worker::config::{DiskClass, DiskConfig},
};

const HANG: Duration = Duration::from_secs(30);

fn disks(disk: Arc<dyn Disk>, settings: Vec<DiskConfig>) -> Disks {
    let config = Config { disks: settings, disk_reserve_bytes: ByteSize(0), ..Config::default() };
    let disks = Disks::new(&config, &"w".into(), disk, Tasks::new("test"));
    disks.volumes.iter().for_each(|volume| volume.measured(1000, 0));
    disks
}

fn settings(path: &str, class: DiskClass) -> DiskConfig {
    DiskConfig { path: path.into(), class, ..DiskConfig::default() }
}

fn states(disks: &Disks) -> Vec<DiskState> {
    disks.reports().iter().map(|report| report.state).collect()
}

#[test]
fn a_location_goes_on_where_it_began_as_long_as_that_disk_takes_it() {
    let disks = disks(
        Arc::new(MemoryDisk::default()),
        vec![settings("slow", DiskClass::Hdd), settings("fast", DiskClass::Nvme)],
    );
    assert_eq!(disks.choose(None, 100).unwrap().0, 1);
    assert_eq!(disks.choose(Some(0), 100).unwrap().0, 0);
    disks.volumes[0].measured(50, 0);
    assert_eq!(disks.choose(Some(0), 100).unwrap().0, 1);
}

#[test]
fn what_is_on_its_way_takes_room_until_it_has_arrived() {
    let disks = disks(Arc::new(MemoryDisk::default()), vec![settings("only", DiskClass::Ssd)]);
    let (_, queued) = disks.choose(None, 700).unwrap();
    assert!(disks.choose(None, 700).is_none());
    disks.volumes[0].wrote(700);
    drop(queued);
    assert!(disks.choose(None, 700).is_none());
    assert!(disks.choose(None, 300).is_some());
}

#[test]
fn reserve_and_quota_are_kept() {
    let reserved = DiskConfig { reserve: Some(ByteSize(900)), ..settings("a", DiskClass::Ssd) };
    let quota = DiskConfig { quota: ByteSize(200), ..settings("b", DiskClass::Ssd) };
    let disks = disks(Arc::new(MemoryDisk::default()), vec![reserved, quota]);
    let room = |disks: &Disks| disks.reports().iter().map(|report| report.room_bytes).collect::<Vec<_>>();
    assert_eq!(room(&disks), [100, 200]);
    disks.volumes[1].measured(5000, 200);
    assert_eq!(states(&disks), [DiskState::Healthy, DiskState::Full]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_end_makes_its_disk_hung_until_it_does() {
    let faulty = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default())));
    let disks =
        Arc::new(disks(faulty.clone(), vec![settings("a", DiskClass::Ssd), settings("b", DiskClass::Ssd)]));
    faulty.always("a", Operation::Write, Fault::Hang);
    let (carried, disk) = (Arc::clone(&disks), Arc::clone(&disks.disk));
    let call = async move {
        let write = disk.write_at(Path::new("a/w/file"), 0, vec!["x".into()]);
        carried.volumes[0].watched(HANG, write).await
    };
    assert!(matches!(disks.carry("write", call).await, Err(StillRunning)));
    tokio::task::yield_now().await;
    assert_eq!(states(&disks), [DiskState::Hung, DiskState::Healthy]);
    assert_eq!(disks.choose(Some(0), 10).unwrap().0, 1);
    faulty.heal();
    while disks.volumes[0].state() == DiskState::Hung {
        tokio::task::yield_now().await;
    }
    assert_eq!(disks.choose(Some(0), 10).unwrap().0, 0);
}

#[tokio::test]
async fn errors_fail_a_disk_and_a_full_one_is_only_full() {
    let faulty = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default())));
    let disks = disks(faulty.clone(), vec![settings("a", DiskClass::Ssd), settings("b", DiskClass::Ssd)]);
    faulty.always("a", Operation::Write, Fault::Error);
    faulty.always("b", Operation::Write, Fault::NoSpace);
    for _ in 0..3 {
        for volume in &disks.volumes {
            let file = volume.folder.join("file");
            let write = disks.disk.write_at(&file, 0, vec!["x".into()]);
            volume.watched(HANG, write).await.unwrap_err();
        }
    }
    assert_eq!(states(&disks), [DiskState::Failed, DiskState::Full]);
    assert!(disks.choose(None, 1).is_none());
    assert_eq!(disks.all_unusable(), None);
}

#[test]
fn other_limits_count_at_once() {
    let disks = disks(Arc::new(MemoryDisk::default()), vec![settings("a", DiskClass::Ssd)]);
    disks.volumes[0].call_failed(&io::Error::other("bad sector"));
    assert_eq!(states(&disks), [DiskState::Healthy]);
    let with = |quota, errors_max| Config {
        disks: vec![DiskConfig { quota: ByteSize(quota), ..settings("a", DiskClass::Ssd) }],
        disk_reserve_bytes: ByteSize(900),
        disk_errors_max: errors_max,
        disk_hang_ms: 7,
        ..Config::default()
    };
    disks.configure(&with(0, 3));
    assert_eq!((disks.reports()[0].room_bytes, disks.hang()), (100, Duration::from_millis(7)));
    disks.configure(&with(50, 3));
    assert_eq!(disks.reports()[0].room_bytes, 50);
    disks.configure(&with(50, 1));
    assert_eq!(states(&disks), [DiskState::Failed]);
}

async fn with_a_folder() -> (Arc<FaultyDisk>, Disks) {
    let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default())));
    let disks = disks(Arc::clone(&disk) as _, vec![settings("only", DiskClass::Ssd)]);
    disks.take_over().await.unwrap();
    disk.write_at(Path::new("only/w/job/file"), 0, vec![Bytes::from_static(b"bytes")]).await.unwrap();
    (disk, disks)
}

async fn is_empty(disk: &FaultyDisk) -> bool {
    Disk::files(disk, Path::new("only")).await.unwrap().is_empty()
}

// Invariant 28: a job ends once, so nobody asks a second time for what could not be deleted then.
#[tokio::test(start_paused = true)]
async fn a_folder_that_could_not_be_deleted_is_deleted_when_its_disk_does_it_again() {
    let (disk, disks) = with_a_folder().await;
    disk.add(Rule {
        below: "only".into(),
        operation: Operation::Remove,
        skip: 0,
        times: 20,
        fault: Fault::Error,
    });
    disks.remove_folders("job".into()).await;
    assert!(!is_empty(&disk).await, "it was not waited for");
    while !is_empty(&disk).await {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(disk.injected(), 20);
}

// Each call to it would take a thread.
#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_asked_for_few_deletions_and_does_the_others_later() {
    let (disk, disks) = with_a_folder().await;
    disk.always("only", Operation::Remove, Fault::Hang);
    for folder in 0..20 {
        disks.remove_folders(format!("other-{folder}").into()).await;
    }
    disks.remove_folders("job".into()).await;
    assert_eq!(disk.injected(), 8);
    disk.heal();
    while !is_empty(&disk).await {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_deleted_is_one_error_of_its_disk_and_is_asked_for_once_at_a_time() {
    let (disk, disks) = with_a_folder().await;
    disk.always("only", Operation::Remove, Fault::Error);
    disks.remove_folders("job".into()).await;
    let tries = disk.injected();
    for folder in ["job", "job/file", "job"] {
        disks.remove_folders(folder.into()).await;
    }
    assert_eq!(disk.injected(), tries);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(disk.injected() > 50);
    assert_eq!(disks.reports()[0].errors, 1);
}
