//! Reads batches where they lie: in a file that a worker of this host holds open.
//!
//! The file is opened once more through the worker's process, so that it may lose its name meanwhile, and its position and
//! the memory for what is read are this process's own. Not here: whether what is read counts.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use nix::fcntl::OFlag;
use penstock_common::net::ProcessId;
use penstock_protocol::frame::{BATCH_HEADER_BYTES, FrameError, Loan, whole_batches};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::share::Share;

/// Why a loan is of no use. The worker is asked to send the same batches.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoanError {
    #[error("the worker's process cannot be seen from here")]
    OutOfSight,
    #[error("{} is not what the worker lent", file.display())]
    OtherFile { file: PathBuf },
    #[error("reading {}", file.display())]
    Io {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is damaged at or behind offset {offset}", file.display())]
    Damaged {
        file: PathBuf,
        offset: u64,
        #[source]
        source: FrameError,
    },
    #[error("the disk of {} does not answer", file.display())]
    Late { file: PathBuf },
    #[error("reading {} ended early", file.display())]
    Panicked {
        file: PathBuf,
        #[source]
        source: JoinError,
    },
}

/// Bytes of a lent file that are read at once, as far as the loan's share allows.
const PIECE_BYTES_MAX: usize = 512 << 10;

/// Reads one piece ahead.
pub(super) struct LoanReader {
    /// As the worker names it, for those who ask why a loan failed.
    name: Arc<Path>,
    ahead: Option<JoinHandle<Result<Piece, LoanError>>>,
    patience: Duration,
    /// The pieces are its own: what the worker sends meanwhile has the stream's share.
    _share: Share,
}

/// What is left to read.
struct Rest {
    name: Arc<Path>,
    file: File,
    position: u64,
    end: u64,
    /// Bytes that are read at once, unless a batch is longer.
    piece_bytes: usize,
    /// Bytes that the next batch is known to need.
    batch_bytes: usize,
}

struct Piece {
    batches: Bytes,
    rest: Rest,
}

impl LoanReader {
    /// Opens the file; from then on the worker may close it.
    pub async fn open(
        process: Option<ProcessId>,
        loan: Loan,
        share: Share,
        patience: Duration,
    ) -> Result<Self, LoanError> {
        let process = process.ok_or(LoanError::OutOfSight)?;
        let path = PathBuf::from(format!("/proc/{}/fd/{}", process.0, loan.file));
        // Two pieces are in memory, one of them read ahead.
        let piece_bytes = PIECE_BYTES_MAX.min(share.bytes() / 2);
        let open = spawn_blocking({
            let path = path.clone();
            move || Rest::open(&path, &loan, piece_bytes)
        });
        let rest = in_time(&path, patience, open).await?;
        Ok(Self { name: Arc::clone(&rest.name), ahead: rest.read_ahead(), patience, _share: share })
    }

    /// The next whole batches; none after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LoanError> {
        let Some(ahead) = &mut self.ahead else { return Ok(None) };
        let piece = in_time(&self.name, self.patience, ahead).await?;
        self.ahead = piece.rest.read_ahead();
        Ok(Some(piece.batches))
    }
}

/// What a thread that may hang on the disk comes to.
async fn in_time<T>(
    file: &Path,
    patience: Duration,
    thread: impl Future<Output = Result<Result<T, LoanError>, JoinError>>,
) -> Result<T, LoanError> {
    let file = || file.to_owned();
    let ended = tokio::time::timeout(patience, thread).await.map_err(|_| LoanError::Late { file: file() })?;
    ended.map_err(|source| LoanError::Panicked { file: file(), source })?
}

/// To open something else than a file, such as a pipe, may take for ever otherwise.
fn open_at_once(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

impl Rest {
    fn open(path: &Path, loan: &Loan, piece_bytes: usize) -> Result<Self, LoanError> {
        // One without a name is still shown under the last one that it had.
        let name: Arc<Path> = fs::read_link(path).unwrap_or_else(|_| path.to_owned()).into();
        let io = |source| LoanError::Io { file: name.to_path_buf(), source };
        let is_lent =
            |found: Metadata| found.is_file() && (found.dev(), found.ino()) == (loan.device, loan.inode);
        // Before it is opened too: to open a device may do something.
        if !is_lent(fs::metadata(path).map_err(io)?) {
            return Err(LoanError::OtherFile { file: name.to_path_buf() });
        }
        let file = open_at_once(path).map_err(io)?;
        if !is_lent(file.metadata().map_err(io)?) {
            return Err(LoanError::OtherFile { file: name.to_path_buf() });
        }
        let end = loan.offset.saturating_add(loan.bytes);
        Ok(Self { name, file, position: loan.offset, end, piece_bytes, batch_bytes: 0 })
    }

    fn read_ahead(self) -> Option<JoinHandle<Result<Piece, LoanError>>> {
        (self.position < self.end).then(|| spawn_blocking(move || self.read()))
    }

    fn read(mut self) -> Result<Piece, LoanError> {
        let batches = self.next_batches()?;
        self.position += batches.len() as u64;
        Ok(Piece { batches, rest: self })
    }

    fn next_batches(&mut self) -> Result<Bytes, LoanError> {
        let mut bytes = self.next_bytes(self.piece_bytes)?;
        let (mut whole, mut next) = self.whole(&bytes)?;
        if let (0, Some(first)) = (whole, next) {
            bytes = self.next_bytes(first)?;
            (whole, next) = self.whole(&bytes)?;
        }
        if whole == 0 {
            return Err(self.damaged(FrameError::Truncated { field: "lent batch" }));
        }
        bytes.truncate(whole);
        self.batch_bytes = next.unwrap_or(0);
        Ok(bytes.into())
    }

    fn whole(&self, bytes: &[u8]) -> Result<(usize, Option<usize>), LoanError> {
        whole_batches(bytes).map_err(|source| self.damaged(source))
    }

    fn damaged(&self, source: FrameError) -> LoanError {
        LoanError::Damaged { file: self.name.to_path_buf(), offset: self.position, source }
    }

    fn next_bytes(&mut self, wanted: usize) -> Result<Vec<u8>, LoanError> {
        self.try_next_bytes(wanted).map_err(|source| LoanError::Io { file: self.name.to_path_buf(), source })
    }

    /// As many bytes as are wanted and as the next batch needs, with the header of the batch after it.
    fn try_next_bytes(&mut self, wanted: usize) -> io::Result<Vec<u8>> {
        // Whole batches, as they tend to be of one size: what is read of one more is read again.
        let batches = wanted.checked_div(self.batch_bytes).unwrap_or(1).max(1);
        let wanted =
            if self.batch_bytes > 0 { batches * self.batch_bytes } else { wanted } + BATCH_HEADER_BYTES;
        let wanted = (wanted as u64).min(self.end - self.position);
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).map_err(io::Error::other)?);
        self.file.seek(SeekFrom::Start(self.position))?;
        // Unlike a read into a slice it needs no memory that was filled before.
        (&self.file).take(wanted).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
