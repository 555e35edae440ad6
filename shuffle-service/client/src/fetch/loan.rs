//! Reads batches where they lie: in a file that a worker of this host holds open.
//!
//! The file is opened once more through the worker's process, so that it may lose its name meanwhile, and its position and
//! the memory for what is read are this process's own. Not here: whether what is read counts.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    time::Duration,
};

use bytes::Bytes;
use penstock_common::net::ProcessId;
use penstock_protocol::frame::{BATCH_HEADER_BYTES, FrameError, Loan, whole_batches};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

/// Why a loan is of no use. The worker is asked to send the same batches.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoanError {
    #[error("the worker's process cannot be seen from here")]
    OutOfSight,
    #[error("what the worker holds open is another file by now")]
    OtherFile,
    #[error("reading a file of the worker")]
    Io(#[from] io::Error),
    #[error("a file of the worker is damaged")]
    Damaged(#[from] FrameError),
    #[error("the disk does not answer")]
    Late,
    #[error("reading a file of the worker failed")]
    Panicked(#[from] JoinError),
}

/// Reads one piece ahead.
pub(super) struct LoanReader {
    ahead: Option<JoinHandle<Result<Piece, LoanError>>>,
    patience: Duration,
}

/// What is left to read.
struct Rest {
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
        piece_bytes: usize,
        patience: Duration,
    ) -> Result<Self, LoanError> {
        let process = process.ok_or(LoanError::OutOfSight)?;
        let open = spawn_blocking(move || Rest::open(process, &loan, piece_bytes));
        let rest = tokio::time::timeout(patience, open).await.map_err(|_| LoanError::Late)???;
        Ok(Self { ahead: rest.read_ahead(), patience })
    }

    /// The next whole batches; none after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LoanError> {
        let Some(ahead) = &mut self.ahead else { return Ok(None) };
        let read = tokio::time::timeout(self.patience, ahead).await.map_err(|_| LoanError::Late)?;
        let piece = read??;
        self.ahead = piece.rest.read_ahead();
        Ok(Some(piece.batches))
    }
}

impl Rest {
    fn open(process: ProcessId, loan: &Loan, piece_bytes: usize) -> Result<Self, LoanError> {
        let path = format!("/proc/{}/fd/{}", process.0, loan.file);
        let is_lent =
            |found: Metadata| found.is_file() && (found.dev(), found.ino()) == (loan.device, loan.inode);
        // Before it is opened too: to open something else, such as a pipe, may take for ever.
        if !is_lent(fs::metadata(&path)?) {
            return Err(LoanError::OtherFile);
        }
        let file = File::open(path)?;
        if !is_lent(file.metadata()?) {
            return Err(LoanError::OtherFile);
        }
        let end = loan.offset.saturating_add(loan.bytes);
        Ok(Self { file, position: loan.offset, end, piece_bytes, batch_bytes: 0 })
    }

    fn read_ahead(self) -> Option<JoinHandle<Result<Piece, LoanError>>> {
        (self.position < self.end).then(|| spawn_blocking(move || self.read()))
    }

    fn read(mut self) -> Result<Piece, LoanError> {
        let mut bytes = self.next_bytes(self.piece_bytes)?;
        let (mut whole, mut next) = whole_batches(&bytes)?;
        if let (0, Some(first)) = (whole, next) {
            bytes = self.next_bytes(first)?;
            (whole, next) = whole_batches(&bytes)?;
        }
        if whole == 0 {
            return Err(FrameError::Truncated { field: "lent batch" }.into());
        }
        bytes.truncate(whole);
        self.position += whole as u64;
        self.batch_bytes = next.unwrap_or(0);
        Ok(Piece { batches: bytes.into(), rest: self })
    }

    /// As many bytes as are wanted and as the next batch needs, with the header of the batch after it.
    fn next_bytes(&mut self, wanted: usize) -> io::Result<Vec<u8>> {
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
