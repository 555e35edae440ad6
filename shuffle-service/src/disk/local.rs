//! Local files: what the page cache holds is read at once, everything else happens on tokio's blocking pool.

mod turns;
mod write;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, IoSliceMut, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::sync::Semaphore;

use self::{turns::Turns, write::Writer};
use super::{Disk, OpenFile, StoredFile, Writes};

const LOCK_FILE: &str = "lock";
/// What a file is written as before it takes the place of another.
const ASIDE: &str = "new";

/// The machine's file system.
#[derive(Debug, Default)]
pub struct LocalDisk {
    /// Of folders that this process owns, held open for as long as it does.
    locks: Arc<Mutex<BTreeMap<PathBuf, File>>>,
    writer: Arc<Writer>,
    reads: Turns,
}

impl LocalDisk {
    pub fn new(writes: Writes) -> Self {
        Self { writer: Arc::new(Writer::new(writes)), ..Self::default() }
    }
}

#[async_trait]
impl Disk for LocalDisk {
    async fn take_over(&self, directory: &Path) -> io::Result<()> {
        let directory = directory.to_owned();
        let locks = Arc::clone(&self.locks);
        blocking(move || {
            let locked = || locks.lock().unwrap_or_else(PoisonError::into_inner);
            // By an earlier call whose end nobody waited for.
            if locked().contains_key(&directory) {
                return Ok(());
            }
            let lock = take_over(&directory)?;
            locked().insert(directory, lock);
            Ok(())
        })
        .await
    }

    async fn write_at(&self, file: &Path, offset: u64, pieces: Vec<Bytes>) -> io::Result<()> {
        let (file, writer) = (file.to_owned(), Arc::clone(&self.writer));
        blocking(move || writer.write_at(&file, offset, pieces)).await
    }

    async fn sync(&self, file: &Path) -> io::Result<()> {
        let file = file.to_owned();
        blocking(move || OpenOptions::new().write(true).open(file)?.sync_data()).await
    }

    async fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let folder = folder.to_owned();
        blocking(move || File::open(folder)?.sync_all()).await
    }

    async fn replace(&self, file: &Path, content: Bytes, durable: bool) -> io::Result<()> {
        let file = file.to_owned();
        blocking(move || replace(&file, &content, durable)).await
    }

    async fn open(&self, file: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let file = file.to_owned();
        let (file, found) = blocking(move || {
            let file = File::open(file)?;
            let found = file.metadata()?;
            Ok((file, found))
        })
        .await?;
        let number = u32::try_from(file.as_raw_fd()).ok();
        let known_as = number.map(|number| OpenFile { number, device: found.dev(), inode: found.ino() });
        let reads = self.reads.on(found.dev());
        Ok(Arc::new(LocalFile { file: Arc::new(file), known_as, reads }))
    }

    async fn files(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let folder = folder.to_owned();
        blocking(move || {
            let mut found = Vec::new();
            files_below(&folder, &mut found)?;
            Ok(found)
        })
        .await
    }

    async fn remove_file(&self, file: &Path) -> io::Result<()> {
        let file = file.to_owned();
        blocking(move || match fs::remove_file(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        })
        .await
    }

    async fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let folder = folder.to_owned();
        blocking(move || match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        })
        .await
    }

    async fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        let directory = directory.to_owned();
        blocking(move || {
            let usage = nix::sys::statvfs::statvfs(&directory)?;
            Ok(usage.blocks_available() as u64 * usage.fragment_size() as u64)
        })
        .await
    }
}

#[derive(Debug)]
struct LocalFile {
    file: Arc<File>,
    known_as: Option<OpenFile>,
    /// Of its device.
    reads: Arc<Semaphore>,
}

#[async_trait]
impl StoredFile for LocalFile {
    fn open_file(&self) -> Option<OpenFile> {
        self.known_as
    }

    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        let here = cached(&self.file, offset, &mut bytes);
        if here == length {
            // Reading on and on from memory must not keep others from their turn.
            tokio::task::coop::consume_budget().await;
            return Ok(bytes.into());
        }
        let turn = Arc::clone(&self.reads).acquire_owned().await.map_err(io::Error::other)?;
        let file = Arc::clone(&self.file);
        blocking(move || {
            let _turn = turn;
            file.read_exact_at(&mut bytes[here..], offset + here as u64)?;
            Ok(bytes.into())
        })
        .await
    }
}

/// How many bytes from `offset` on lie in the page cache, without waking a thread for them. Whatever stands in the way, as on
/// file systems that cannot tell, counts as none: who reads the rest meets it.
fn cached(file: &File, offset: u64, bytes: &mut [u8]) -> usize {
    preadv2(file, &mut [IoSliceMut::new(bytes)], offset, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

fn take_over(directory: &Path) -> io::Result<File> {
    fs::create_dir_all(directory)?;
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(directory.join(LOCK_FILE))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let reason = format!(
                "{} is in use by another shuffle worker: give this one another name or directory",
                directory.display()
            );
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, reason));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    Ok(lock)
}

fn replace(path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let aside = path.with_extension(ASIDE);
    let mut file = File::create(&aside)?;
    file.write_all(content)?;
    if durable {
        file.sync_data()?;
    }
    fs::rename(&aside, path)?;
    if durable { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn files_below(folder: &Path, found: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        match add(&entry?, found) {
            // Removed or renamed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            added => added?,
        }
    }
    Ok(())
}

fn add(entry: &fs::DirEntry, found: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    let kind = entry.file_type()?;
    if kind.is_dir() {
        files_below(&entry.path(), found)?;
    } else if kind.is_file() {
        found.push((entry.path(), entry.metadata()?.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_in_pieces_is_read_back() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let disk = LocalDisk::default();
        let path = folder.path().join("a/b/file");
        let pieces: Vec<_> =
            (0..3000_u32).map(|piece| Bytes::copy_from_slice(&piece.to_le_bytes())).collect();
        disk.write_at(&path, 0, pieces.clone()).await?;
        disk.write_at(&path, 12_000, vec![Bytes::from_static(b"tail")]).await?;
        let file = disk.open(&path).await?;
        assert_eq!(file.read_at(0, 12_000).await?, pieces.concat());
        assert_eq!(file.read_at(12_000, 4).await?, &b"tail"[..]);
        assert!(file.read_at(12_000, 5).await.is_err());
        disk.remove_folder(&folder.path().join("a")).await?;
        disk.remove_folder(&folder.path().join("a")).await?;
        assert_eq!(file.read_at(12_000, 4).await?, &b"tail"[..]);
        Ok(())
    }

    #[tokio::test]
    async fn a_folder_has_one_owner_who_finds_what_the_last_one_left() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let (first, second) = (LocalDisk::default(), LocalDisk::default());
        first.take_over(folder.path()).await?;
        let file = folder.path().join("job/file");
        first.write_at(&file, 0, vec![Bytes::from_static(b"x")]).await?;
        let refused = second.take_over(folder.path()).await.expect_err("the first one holds it");
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        assert!(refused.to_string().contains("in use by another shuffle worker"), "{refused}");
        first.take_over(folder.path()).await.expect("it does");
        drop(first);
        second.take_over(folder.path()).await?;
        assert!(second.files(folder.path()).await?.contains(&(file, 1)));
        Ok(())
    }
}
