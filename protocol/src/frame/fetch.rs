//! Streams of stored batches, many on one connection, each with its own credit.

use std::ops::Range;

use bytes::{BufMut, Bytes};

use super::{
    FRAME_HEAD_BYTES, FrameError, FrameHead, Kind, Refusal,
    fields::{Fields, frame, put_shuffle, put_text, put_token},
};
use crate::{
    ids::{Epoch, Incarnation, PartitionIndex, ShuffleId, TaskIndex},
    token::JobToken,
};

/// Asks for the batches of one location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Chosen by the client, unique on its connection.
    pub stream: u32,
    pub incarnation: Incarnation,
    pub shuffle: ShuffleId,
    pub token: JobToken,
    pub partition: PartitionIndex,
    pub epoch: Epoch,
    /// Where to start: how many bytes of this stream were received before, all of them whole batches.
    pub offset: u64,
    /// Bytes that the worker may send before it hears of more.
    pub credit: u32,
    /// Whether the client can read files that the worker holds open.
    pub borrows: bool,
    /// Only the batches of these maps; all if not set.
    pub maps: Option<Range<TaskIndex>>,
}

impl Open {
    pub fn encode(&self) -> Bytes {
        frame(Kind::Open, |body| {
            body.put_u32_le(self.stream);
            body.put_u64_le(self.incarnation.0);
            put_shuffle(body, self.shuffle);
            put_token(body, self.token);
            body.put_u32_le(self.partition.0);
            body.put_u32_le(self.epoch.0);
            body.put_u64_le(self.offset);
            body.put_u32_le(self.credit);
            body.put_u8(self.borrows.into());
            if let Some(maps) = &self.maps {
                body.put_u32_le(maps.start.0);
                body.put_u32_le(maps.end.0);
            }
        })
    }

    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        let open = Self {
            stream: fields.u32("stream")?,
            incarnation: Incarnation(fields.u64("incarnation")?),
            shuffle: fields.shuffle()?,
            token: fields.token()?,
            partition: PartitionIndex(fields.u32("partition")?),
            epoch: Epoch(fields.u32("epoch")?),
            offset: fields.u64("offset")?,
            credit: fields.u32("credit")?,
            borrows: match fields.u8("borrows")? {
                0 => false,
                1 => true,
                other => return Err(FrameError::Value { field: "borrows", value: other.into() }),
            },
            maps: match fields.0.is_empty() {
                true => None,
                false => Some(TaskIndex(fields.u32("first map")?)..TaskIndex(fields.u32("last map")?)),
            },
        };
        fields.end()?;
        Ok(open)
    }
}

/// Whole batches of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    pub stream: u32,
    pub batches: Bytes,
}

impl Data {
    /// The bytes that go in front of `batches_bytes` bytes of whole batches.
    pub fn encode_head(stream: u32, batches_bytes: usize) -> Bytes {
        let mut head = Vec::with_capacity(FRAME_HEAD_BYTES + 4);
        head.put_slice(&FrameHead { kind: Kind::Data, body_bytes: 4 + batches_bytes }.encode());
        head.put_u32_le(stream);
        head.into()
    }

    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        Ok(Self { stream: fields.u32("stream")?, batches: fields.0 })
    }
}

/// The next whole batches of a stream, in place of [`Data`]: they lie in a file that the worker holds open until the client
/// says that it has opened it too. Costs no credit, since the client reads when it wants to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loan {
    pub stream: u32,
    /// The worker's number for the open file.
    pub file: u32,
    /// What the client must find under this number.
    pub device: u64,
    pub inode: u64,
    /// Where the batches begin in the file.
    pub offset: u64,
    pub bytes: u64,
}

impl Loan {
    pub fn encode(&self) -> Bytes {
        frame(Kind::Loan, |body| {
            body.put_u32_le(self.stream);
            body.put_u32_le(self.file);
            body.put_u64_le(self.device);
            body.put_u64_le(self.inode);
            body.put_u64_le(self.offset);
            body.put_u64_le(self.bytes);
        })
    }

    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        let loan = Self {
            stream: fields.u32("stream")?,
            file: fields.u32("file")?,
            device: fields.u64("device")?,
            inode: fields.u64("inode")?,
            offset: fields.u64("offset")?,
            bytes: fields.u64("bytes")?,
        };
        fields.end()?;
        Ok(loan)
    }
}

/// The client has opened the file of a [`Loan`]: the worker may close it and go on with the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoanTaken {
    pub stream: u32,
}

impl LoanTaken {
    pub fn encode(&self) -> Bytes {
        frame(Kind::LoanTaken, |body| body.put_u32_le(self.stream))
    }

    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        let taken = Self { stream: fields.u32("stream")? };
        fields.end()?;
        Ok(taken)
    }
}

/// Lets the worker send more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    pub stream: u32,
    pub bytes: u32,
}

impl Credit {
    pub fn encode(&self) -> Bytes {
        frame(Kind::Credit, |body| {
            body.put_u32_le(self.stream);
            body.put_u32_le(self.bytes);
        })
    }

    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        let credit = Self { stream: fields.u32("stream")?, bytes: fields.u32("bytes")? };
        fields.end()?;
        Ok(credit)
    }
}

/// The client wants no more of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    pub stream: u32,
}

impl Close {
    pub fn encode(&self) -> Bytes {
        frame(Kind::Close, |body| body.put_u32_le(self.stream))
    }

    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        let close = Self { stream: fields.u32("stream")? };
        fields.end()?;
        Ok(close)
    }
}

/// The last frame of a stream: everything was sent, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub stream: u32,
    pub refused: Option<(Refusal, String)>,
}

impl End {
    pub fn encode(&self) -> Bytes {
        frame(Kind::End, |body| {
            body.put_u32_le(self.stream);
            match &self.refused {
                None => body.put_u8(0),
                Some((refusal, message)) => {
                    body.put_u8(*refusal as u8);
                    put_text(body, message);
                }
            }
        })
    }

    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        let stream = fields.u32("stream")?;
        let refused = match fields.u8("refusal")? {
            0 => None,
            code => Some((Refusal::parse(code)?, fields.text("message")?)),
        };
        fields.end()?;
        Ok(Self { stream, refused })
    }
}
