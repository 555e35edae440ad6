//! The first frames of a connection.

use bytes::{BufMut, Bytes};

use super::{
    FrameError, Kind, Refusal,
    fields::{Fields, frame, put_text},
};
use crate::ids::Incarnation;

/// What a connection is for. Pushes and fetches use connections of their own, so that a paused push never holds up a
/// fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Push,
    Fetch,
    /// A worker pushes second copies of what it takes: they have room of their own.
    Replicate,
}

/// A client's first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub purpose: Purpose,
    /// The life of the worker that the client means.
    pub incarnation: Incarnation,
    pub build: String,
}

impl Hello {
    pub fn encode(&self) -> Bytes {
        frame(Kind::Hello, |body| {
            body.put_u8(match self.purpose {
                Purpose::Push => 1,
                Purpose::Fetch => 2,
                Purpose::Replicate => 3,
            });
            body.put_u64_le(self.incarnation.0);
            put_text(body, &self.build);
        })
    }

    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        let purpose = match fields.u8("purpose")? {
            1 => Purpose::Push,
            2 => Purpose::Fetch,
            3 => Purpose::Replicate,
            other => return Err(FrameError::Value { field: "purpose", value: other.into() }),
        };
        let hello = Self {
            purpose,
            incarnation: Incarnation(fields.u64("incarnation")?),
            build: fields.text("build")?,
        };
        fields.end()?;
        Ok(hello)
    }
}

/// A worker's answer to [`Hello`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// The longest body that this worker accepts.
    pub frame_bytes_max: u32,
}

impl Welcome {
    pub fn encode(&self) -> Bytes {
        frame(Kind::Welcome, |body| body.put_u32_le(self.frame_bytes_max))
    }

    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        let welcome = Self { frame_bytes_max: fields.u32("frame bytes max")? };
        fields.end()?;
        Ok(welcome)
    }
}

/// The last frame of a worker on a connection that it gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub refusal: Refusal,
    pub message: String,
}

impl Fault {
    pub fn encode(&self) -> Bytes {
        frame(Kind::Fault, |body| {
            body.put_u8(self.refusal as u8);
            put_text(body, &self.message);
        })
    }

    pub fn parse(body: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(body);
        let fault =
            Self { refusal: Refusal::parse(fields.u8("refusal")?)?, message: fields.text("message")? };
        fields.end()?;
        Ok(fault)
    }
}
