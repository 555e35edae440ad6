//! Writes a run of bytes to a file: through the page cache, or past it as far as that pays.
//!
//! Past the cache go the whole blocks of a long run, by way of memory that is used again and again: the kernel takes them from
//! memory that begins at a block only. The two ends of a run, and short runs, go through the cache. No block is written both
//! ways, so the kernel keeps the file in order: what ended within a block was in the cache, and so is what completes it.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Buf, Bytes};
use rustix::fs::OFlags;

use crate::disk::Writes;

/// What one `writev` takes.
const SLICES_MAX: usize = 1024;
/// No disk has larger blocks than pages.
const BLOCK_BYTES: usize = 4 << 10;
/// What goes past the cache in one call.
const CHUNK_BYTES: usize = 1 << 20;
/// Fewer bytes in whole blocks are not worth a wait for the disk.
const DIRECT_BYTES_MIN: u64 = 256 << 10;
/// Memory that is kept for later writes: as many pieces as there are usually writes at once.
const BUFFERS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Writer {
    writes: Writes,
    buffers: Mutex<Vec<Buffer>>,
    /// Whether it was said that a file system does not take what goes past the cache.
    refusal_told: AtomicBool,
}

impl Writer {
    pub fn new(writes: Writes) -> Self {
        Self { writes, ..Self::default() }
    }

    /// Writes pieces one after the other from `offset`; the file and its folders are created when they are missing.
    pub fn write_at(&self, path: &Path, offset: u64, pieces: Vec<Bytes>) -> io::Result<()> {
        let cached = open(path)?;
        let mut pieces = Pieces::new(pieces);
        let blocks = whole_blocks(offset, pieces.bytes());
        let worth_it = self.writes == Writes::Direct && blocks.end - blocks.start >= DIRECT_BYTES_MIN;
        let direct = if worth_it { self.open_direct(path) } else { None };
        let Some(direct) = direct else { return pieces.write_all(&cached, offset) };
        pieces.take(blocks.start - offset).write_all(&cached, offset)?;
        self.write_blocks(
            &Ways { path, direct, cached: &cached },
            blocks.start,
            pieces.take(blocks.end - blocks.start),
        )?;
        pieces.write_all(&cached, blocks.end)
    }

    fn open_direct(&self, path: &Path) -> Option<File> {
        let flags = i32::try_from(OFlags::DIRECT.bits()).expect("a flag of open");
        match OpenOptions::new().write(true).custom_flags(flags).open(path) {
            Ok(file) => Some(file),
            // Whatever stands in the way also stands in the other one.
            Err(error) => {
                self.refused(path, &error);
                None
            }
        }
    }

    fn write_blocks(&self, ways: &Ways<'_>, mut offset: u64, mut pieces: Pieces) -> io::Result<()> {
        let mut buffer = self.buffers().pop().unwrap_or_else(Buffer::new);
        while pieces.bytes() > 0 {
            let chunk = buffer.fill(&mut pieces);
            match ways.direct.write_all_at(chunk, offset) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.refused(ways.path, &error);
                    ways.cached.write_all_at(chunk, offset)?;
                }
                written => written?,
            }
            offset += chunk.len() as u64;
        }
        let mut buffers = self.buffers();
        if buffers.len() < BUFFERS_MAX {
            buffers.push(buffer);
        }
        Ok(())
    }

    fn refused(&self, path: &Path, error: &io::Error) {
        if !self.refusal_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(file = %path.display(), %error, "a file system takes nothing past the page cache: writing through it");
        }
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Buffer>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One file, opened twice.
struct Ways<'a> {
    path: &'a Path,
    direct: File,
    cached: &'a File,
}

/// The whole blocks of a run; none if it holds none.
fn whole_blocks(offset: u64, bytes: u64) -> std::ops::Range<u64> {
    let block = BLOCK_BYTES as u64;
    let start = offset.next_multiple_of(block);
    let end = (offset + bytes) / block * block;
    start..end.max(start)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().ok_or(error)?)?;
            options.open(path)
        }
        opened => opened,
    }
}

/// Memory that begins at a block.
#[derive(Debug)]
struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new() -> Self {
        let memory = vec![0; CHUNK_BYTES + BLOCK_BYTES];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        Self { memory, start }
    }

    /// Takes as many bytes as fit in.
    fn fill(&mut self, pieces: &mut Pieces) -> &[u8] {
        let bytes = usize::try_from(pieces.bytes()).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let chunk = &mut self.memory[self.start..self.start + bytes];
        pieces.copy_to(chunk);
        chunk
    }
}

/// Pieces that are yet to be written.
struct Pieces(VecDeque<Bytes>);

impl Pieces {
    fn new(pieces: Vec<Bytes>) -> Self {
        let mut pieces = VecDeque::from(pieces);
        pieces.retain(|piece| !piece.is_empty());
        Self(pieces)
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|piece| piece.len() as u64).sum()
    }

    /// The first `bytes` of them.
    fn take(&mut self, bytes: u64) -> Self {
        let mut rest = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut taken = VecDeque::new();
        while rest > 0
            && let Some(first) = self.0.front_mut()
        {
            let piece = first.split_to(first.len().min(rest));
            rest -= piece.len();
            taken.push_back(piece);
            self.0.pop_front_if(|first| first.is_empty());
        }
        Self(taken)
    }

    fn copy_to(&mut self, mut target: &mut [u8]) {
        while !target.is_empty()
            && let Some(first) = self.0.front_mut()
        {
            let (here, rest) = target.split_at_mut(first.len().min(target.len()));
            first.copy_to_slice(here);
            target = rest;
            self.0.pop_front_if(|first| first.is_empty());
        }
    }

    fn write_all(mut self, file: &File, offset: u64) -> io::Result<()> {
        let mut file = file;
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
        while !self.0.is_empty() {
            let slices: Vec<_> = self.0.iter().take(SLICES_MAX).map(|piece| IoSlice::new(piece)).collect();
            match file.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.take(written as u64)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Bytes that differ wherever they are swapped.
    fn content(bytes: usize) -> Bytes {
        (0..bytes).map(|at| (at % 251) as u8).collect()
    }

    /// The same bytes in pieces of these lengths, over and over.
    fn cut(mut bytes: Bytes, lengths: &[usize]) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        for length in lengths.iter().cycle() {
            if bytes.is_empty() {
                return pieces;
            }
            pieces.push(bytes.split_to((*length).min(bytes.len())));
        }
        pieces
    }

    #[test]
    fn runs_of_any_length_follow_each_other_whichever_way_they_are_written() {
        let runs =
            [1000, 300_000, 3096, 2 * CHUNK_BYTES + 5000, 17, 0, CHUNK_BYTES, 256 << 10, 4096, 700_001];
        let content = content(runs.iter().sum());
        for writes in [Writes::Cached, Writes::Direct] {
            let folder = tempfile::tempdir().unwrap();
            let (writer, path) = (Writer::new(writes), folder.path().join("job/file"));
            let mut rest = content.clone();
            for run in runs {
                let offset = content.len() - rest.len();
                let pieces = cut(rest.split_to(run), &[65_564, 1, 28, 0, 9000]);
                writer.write_at(&path, offset as u64, pieces).unwrap();
            }
            assert!(fs::read(&path).unwrap() == content, "{writes:?}");
        }
    }

    #[test]
    fn what_takes_nothing_past_the_cache_is_written_through_it() {
        let writer = Writer::new(Writes::Direct);
        writer.write_at(Path::new("/dev/null"), 5, vec![content(1 << 20)]).unwrap();
        assert!(writer.refusal_told.load(Ordering::Relaxed));
    }

    #[test]
    fn a_full_disk_is_an_error_either_way() {
        for writes in [Writes::Cached, Writes::Direct] {
            let full = Writer::new(writes).write_at(Path::new("/dev/full"), 0, vec![content(1 << 20)]);
            assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn the_whole_blocks_of_a_run_lie_within_it() {
        let block = BLOCK_BYTES as u64;
        assert_eq!(whole_blocks(0, 3 * block), 0..3 * block);
        assert_eq!(whole_blocks(1, 3 * block), block..3 * block);
        assert_eq!(whole_blocks(block - 1, block + 1), block..2 * block);
        assert!(whole_blocks(1, block).is_empty());
        assert!(whole_blocks(7, 0).is_empty());
    }

    #[test]
    fn memory_for_direct_writes_begins_at_a_block() {
        let mut buffer = Buffer::new();
        let chunk = buffer.fill(&mut Pieces::new(vec![content(5000)]));
        assert_eq!(chunk, content(5000));
        assert_eq!(chunk.as_ptr().align_offset(BLOCK_BYTES), 0);
    }
}
