//! The data plane of the shuffle service: frames on a plain stream, little endian.
//!
//! A frame is a head of 8 bytes (body length u32, kind u8, version u8, magic u16) and a body. Parsing never copies a
//! payload: bodies are [`Bytes`] and what comes out are slices of them. The first frame on a connection is [`Hello`],
//! which says whether it is a connection for pushes or for fetches; a fault ends the connection.
//!
//! Decided here: what bytes mean. Not here: sockets, windows, retries.

mod batch;
mod checksum;
mod crc32c;
mod fetch;
mod fields;
mod hello;
mod io;
mod push;
mod reader;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;

pub use self::{
    batch::{BATCH_HEADER_BYTES, Batch, BatchHeader, Batches, whole_batches},
    checksum::checksum_with,
    crc32c::{crc32c, crc32c_append},
    fetch::{Close, Credit, Data, End, Loan, LoanTaken, Open},
    hello::{Fault, Hello, Purpose, Welcome},
    io::{ReadFrameError, read_frame, write_all},
    push::{Acks, Answer, ENTRY_BYTES, Entry, PUSH_HEAD_BYTES, Push, PushHead, PushRecorder},
    reader::{FrameReader, PushBody},
};

/// The longest body that anyone accepts. A worker with little memory announces less in its [`Welcome`].
pub const FRAME_BYTES_MAX: usize = 64 << 20;
pub const FRAME_HEAD_BYTES: usize = 8;
/// A worker that owes something on a connection, an answer or the next batches, and has said nothing for this long shows
/// with empty [`Acks`] that it is alive.
pub const SIGN_OF_LIFE: Duration = Duration::from_millis(250);
const MAGIC: u16 = 0x5350;
const VERSION: u8 = 1;

/// Why bytes are not a frame. Nothing after such bytes on a connection can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("not a Penstock frame: magic {magic:#06x}")]
    Magic { magic: u16 },
    #[error("frame version {version} is not spoken here, only {VERSION}")]
    Version { version: u8 },
    #[error("unknown frame kind {kind}")]
    Kind { kind: u8 },
    #[error("a frame of {length} bytes is longer than {max}")]
    TooLong { length: usize, max: usize },
    #[error("frame ends inside its {field}")]
    Truncated { field: &'static str },
    #[error("{trailing} bytes follow the end of a frame's content")]
    Trailing { trailing: usize },
    #[error("{value} is no valid {field}")]
    Value { field: &'static str, value: u64 },
    #[error("batch header does not match its checksum")]
    BatchHeader,
    #[error("payload of batch {batch} of map {map} does not match its checksum")]
    Payload { map: u32, batch: u32 },
}

/// What a frame's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Hello = 1,
    Welcome = 2,
    Fault = 3,
    Push = 4,
    Acks = 5,
    Open = 6,
    Data = 7,
    Credit = 8,
    Close = 9,
    End = 10,
    Loan = 11,
    LoanTaken = 12,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Hello,
        Self::Welcome,
        Self::Fault,
        Self::Push,
        Self::Acks,
        Self::Open,
        Self::Data,
        Self::Credit,
        Self::Close,
        Self::End,
        Self::Loan,
        Self::LoanTaken,
    ];
}

/// The first bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    pub kind: Kind,
    pub body_bytes: usize,
}

impl FrameHead {
    pub fn encode(self) -> [u8; FRAME_HEAD_BYTES] {
        let mut head = [0; FRAME_HEAD_BYTES];
        let length = u32::try_from(self.body_bytes).expect("bodies are bounded by FRAME_BYTES_MAX");
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = self.kind as u8;
        head[5] = VERSION;
        head[6..].copy_from_slice(&MAGIC.to_le_bytes());
        head
    }

    pub fn parse(head: [u8; FRAME_HEAD_BYTES], body_bytes_max: usize) -> Result<Self, FrameError> {
        let magic = u16::from_le_bytes([head[6], head[7]]);
        if magic != MAGIC {
            return Err(FrameError::Magic { magic });
        }
        if head[5] != VERSION {
            return Err(FrameError::Version { version: head[5] });
        }
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == head[4]);
        let kind = kind.ok_or(FrameError::Kind { kind: head[4] })?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length > body_bytes_max {
            return Err(FrameError::TooLong { length, max: body_bytes_max });
        }
        Ok(Self { kind, body_bytes: length })
    }
}

/// A whole frame as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub body: Bytes,
}

/// Why a worker does not do what a frame asks; the same codes for pushes, fetches and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// Never reserved here, or forgotten. Not empty.
    Unknown = 16,
    /// The job or shuffle was released. Not empty.
    Expired = 17,
    /// The frame means a former life of this worker: what it held is gone.
    OtherIncarnation = 18,
    /// Committed: nothing is accepted any more.
    Closed = 19,
    /// Not committed yet: nothing to read.
    Open = 20,
    /// A write failed earlier: the location never commits.
    Broken = 21,
    /// Disk or memory is full.
    NoRoom = 22,
    /// Bytes do not match their checksum.
    Corrupt = 23,
    /// Not a frame, or not one that belongs here.
    BadFrame = 24,
    /// Another build.
    OtherBuild = 25,
    /// Reading stored data failed.
    Unreadable = 26,
    /// The worker is leaving.
    Stopping = 27,
    /// The location has grown as far as it may.
    Full = 28,
    /// The second copy was not stored.
    ReplicaLost = 29,
    /// The job, or all jobs of its user, hold as much as they may.
    OverQuota = 30,
    /// The data lies in an object store that does not answer now, or not as it should.
    StoreAway = 31,
    /// The token does not open this job.
    Denied = 40,
}

impl Refusal {
    const ALL: [Self; 17] = [
        Self::Unknown,
        Self::Expired,
        Self::OtherIncarnation,
        Self::Closed,
        Self::Open,
        Self::Broken,
        Self::NoRoom,
        Self::Corrupt,
        Self::BadFrame,
        Self::OtherBuild,
        Self::Unreadable,
        Self::Stopping,
        Self::Full,
        Self::ReplicaLost,
        Self::OverQuota,
        Self::StoreAway,
        Self::Denied,
    ];

    /// Whether the location lives and takes nothing more: a hard split. Everything else is a failure.
    pub fn is_hard_split(self) -> bool {
        matches!(self, Self::Full | Self::Closed | Self::NoRoom | Self::Stopping)
    }

    fn parse(code: u8) -> Result<Self, FrameError> {
        let found = Self::ALL.into_iter().find(|refusal| *refusal as u8 == code);
        found.ok_or(FrameError::Value { field: "refusal", value: code.into() })
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the location is unknown there",
            Self::Expired => "the data was released",
            Self::OtherIncarnation => "the worker was restarted and lost it",
            Self::Closed => "the location is already committed",
            Self::Open => "the location is not committed yet",
            Self::Broken => "the location was given up after a failed write",
            Self::NoRoom => "the worker is out of room",
            Self::Corrupt => "bytes do not match their checksum",
            Self::BadFrame => "the frame was not understood",
            Self::OtherBuild => "the worker is of another build",
            Self::Unreadable => "reading the stored data failed",
            Self::Stopping => "the worker is stopping",
            Self::Full => "the location is full",
            Self::ReplicaLost => "its second copy cannot be written",
            Self::OverQuota => "the quota of its job or user is used up",
            Self::StoreAway => "the object store that holds the data does not answer now",
            Self::Denied => {
                "the token does not open this job: are all services given the same cluster secret?"
            }
        })
    }
}

/// What became of one pushed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushVerdict {
    Accepted,
    /// Accepted; ask for a new epoch soon.
    SplitSoon,
    /// Accepted; slow down.
    Congested,
    Refused(Refusal),
}

impl PushVerdict {
    /// What counts when two copies disagree: failure before hard split before congested before accepted (invariant 6).
    pub fn or_worse(self, other: Self) -> Self {
        let rank = |verdict: &Self| match verdict {
            Self::Accepted => 0,
            Self::SplitSoon => 1,
            Self::Congested => 2,
            Self::Refused(refusal) if refusal.is_hard_split() => 3,
            Self::Refused(_) => 4,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }

    pub fn is_accepted(self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    fn code(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::SplitSoon => 1,
            Self::Congested => 2,
            Self::Refused(refusal) => refusal as u8,
        }
    }

    fn parse(code: u8) -> Result<Self, FrameError> {
        match code {
            0 => Ok(Self::Accepted),
            1 => Ok(Self::SplitSoon),
            2 => Ok(Self::Congested),
            code => Refusal::parse(code).map(Self::Refused),
        }
    }
}
