#![allow(clippy::unwrap_used)]

use super::*;

const FILE: &str = "own/job/file";

async fn owned() -> MemoryDisk {
    let disk = MemoryDisk::default();
    disk.take_over(Path::new("own")).await.unwrap();
    disk
}

async fn write(disk: &dyn Disk, offset: u64, bytes: &'static [u8]) -> io::Result<()> {
    disk.write_at(Path::new(FILE), offset, vec![Bytes::from_static(bytes)]).await
}

async fn read(disk: &dyn Disk) -> Option<Bytes> {
    let (_, length) =
        disk.files(Path::new("own")).await.unwrap().into_iter().find(|(file, _)| file.ends_with(FILE))?;
    let file = disk.open(Path::new(FILE)).await.unwrap();
    Some(file.read_at(0, length as usize).await.unwrap())
}

async fn sync_all(disk: &dyn Disk) {
    disk.sync(Path::new(FILE)).await.unwrap();
    for folder in ["own/job", "own"] {
        disk.sync_folder(Path::new(folder)).await.unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_leaves_what_it_wrote_and_a_lost_machine_what_it_synced() {
    let disk = owned().await;
    write(&disk, 0, b"synced").await.unwrap();
    sync_all(&disk).await;
    write(&disk, 6, b" and not").await.unwrap();
    assert_eq!(read(&disk.after_kill()).await.unwrap(), &b"synced and not"[..]);
    assert_eq!(read(&disk.after_power_loss()).await.unwrap(), &b"synced"[..]);
}

#[tokio::test]
async fn a_file_whose_folder_was_not_synced_is_gone_after_a_loss_of_power() {
    for missing in ["own/job", "own"] {
        let disk = owned().await;
        write(&disk, 0, b"bytes").await.unwrap();
        disk.sync(Path::new(FILE)).await.unwrap();
        for folder in ["own/job", "own"].iter().filter(|folder| **folder != missing) {
            disk.sync_folder(Path::new(folder)).await.unwrap();
        }
        assert_eq!(read(&disk.after_power_loss()).await, None);
    }
}

#[tokio::test]
async fn a_script_names_the_calls_that_go_wrong() {
    let memory = Arc::new(owned().await);
    let disk = FaultyDisk::new(memory.clone());
    let rule = |fault, skip| Rule { below: "own".into(), operation: Operation::Write, skip, times: 1, fault };
    disk.add(rule(Fault::ShortWrite, 1));
    write(&disk, 0, b"12345678").await.unwrap();
    assert!(write(&disk, 8, b"abcdefgh").await.is_err());
    assert_eq!(read(&disk).await.unwrap(), &b"12345678abcd"[..]);
    disk.add(rule(Fault::NoSpace, 0));
    assert_eq!(write(&disk, 8, b"x").await.unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.add(rule(Fault::BitFlip, 0));
    write(&disk, 0, &[0; 8]).await.unwrap();
    assert_eq!(read(&disk).await.unwrap().iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    assert_eq!(disk.injected(), 3);
}

#[tokio::test]
async fn a_lost_sync_is_found_out_when_the_power_goes() {
    let memory = Arc::new(owned().await);
    let disk = FaultyDisk::new(memory.clone());
    disk.always(FILE, Operation::Sync, Fault::LostSync);
    write(&disk, 0, b"bytes").await.unwrap();
    sync_all(&disk).await;
    assert_eq!(read(&memory.after_power_loss()).await.unwrap_or_default(), Bytes::new());
    assert_eq!(read(&memory.after_kill()).await.unwrap(), &b"bytes"[..]);
}

#[tokio::test]
async fn a_seed_gives_the_same_faults_again() {
    let run = |seed| async move {
        let odds = Odds { error: 2000, short_write: 1000, bit_flip: 1000, ..Odds::default() };
        let memory = Arc::new(owned().await);
        let disk = FaultyDisk::seeded(memory.clone(), seed, odds);
        let mut failed = Vec::new();
        for _ in 0..100 {
            failed.push(write(&disk, 0, b"some bytes").await.is_err());
        }
        (failed, read(&*memory).await)
    };
    assert_eq!(run(7).await, run(7).await);
    assert_ne!(run(7).await.0, run(8).await.0);
}

// `/dev/shm` can not say what is in memory.
#[tokio::test]
async fn a_local_file_gives_all_that_is_asked_for_or_an_error() {
    for parent in [std::env::temp_dir(), "/dev/shm".into()] {
        let folder = tempfile::tempdir_in(parent).unwrap();
        let (disk, path) = (LocalDisk::default(), folder.path().join("job/file"));
        disk.take_over(folder.path()).await.unwrap();
        let content: Bytes = (0..300_000u32).map(|at| (at % 251) as u8).collect();
        disk.write_at(&path, 0, vec![content.clone()]).await.unwrap();
        let file = disk.open(&path).await.unwrap();
        assert_eq!(file.read_at(0, content.len()).await.unwrap(), content);
        assert_eq!(file.read_at(299_000, 1000).await.unwrap(), content[299_000..]);
        for (offset, length) in [(299_000, 1001), (300_000, 1), (1 << 40, 1)] {
            let error = file.read_at(offset, length).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length} bytes at {offset}");
        }
    }
}
