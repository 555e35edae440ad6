//! Reads and writes the fixed fields of frame bodies.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::{FrameError, FrameHead, Kind};
use crate::{
    ids::{JobId, ShuffleId, StageId},
    token::{JobToken, TOKEN_BYTES},
};

pub(super) const SHUFFLE_BYTES: usize = 24;

/// Takes fields off the front of a body; each failure names the field.
pub(super) struct Fields(pub Bytes);

impl Fields {
    pub fn u8(&mut self, field: &'static str) -> Result<u8, FrameError> {
        self.0.try_get_u8().map_err(|_| FrameError::Truncated { field })
    }

    pub fn u32(&mut self, field: &'static str) -> Result<u32, FrameError> {
        self.0.try_get_u32_le().map_err(|_| FrameError::Truncated { field })
    }

    pub fn u64(&mut self, field: &'static str) -> Result<u64, FrameError> {
        self.0.try_get_u64_le().map_err(|_| FrameError::Truncated { field })
    }

    pub fn bytes(&mut self, length: usize, field: &'static str) -> Result<Bytes, FrameError> {
        if self.0.len() < length {
            return Err(FrameError::Truncated { field });
        }
        Ok(self.0.split_to(length))
    }

    pub fn text(&mut self, field: &'static str) -> Result<String, FrameError> {
        let length = self.u32(field)?;
        let bytes = self.bytes(length as usize, field)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub fn shuffle(&mut self) -> Result<ShuffleId, FrameError> {
        let job = self.bytes(16, "job")?;
        let job = JobId(Uuid::from_slice(&job).expect("sixteen bytes were taken"));
        Ok(ShuffleId { job, exchange: StageId(self.u32("exchange")?), run: self.u32("run")? })
    }

    pub fn token(&mut self) -> Result<JobToken, FrameError> {
        let bytes = self.bytes(TOKEN_BYTES, "token")?;
        Ok(JobToken::from_bytes(bytes[..].try_into().expect("as many bytes as were taken")))
    }

    pub fn end(self) -> Result<(), FrameError> {
        match self.0.len() {
            0 => Ok(()),
            trailing => Err(FrameError::Trailing { trailing }),
        }
    }
}

pub(super) fn put_shuffle(body: &mut BytesMut, shuffle: ShuffleId) {
    body.put_slice(shuffle.job.0.as_bytes());
    body.put_u32_le(shuffle.exchange.0);
    body.put_u32_le(shuffle.run);
}

pub(super) fn put_token(body: &mut BytesMut, token: JobToken) {
    body.put_slice(&token.to_bytes());
}

pub(super) fn put_text(body: &mut BytesMut, text: &str) {
    body.put_u32_le(u32::try_from(text.len()).expect("texts in frames are short"));
    body.put_slice(text.as_bytes());
}

/// A whole frame whose body `fill` writes.
pub(super) fn frame(kind: Kind, fill: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut frame = BytesMut::with_capacity(128);
    frame.put_bytes(0, super::FRAME_HEAD_BYTES);
    fill(&mut frame);
    let body_bytes = frame.len() - super::FRAME_HEAD_BYTES;
    frame[..super::FRAME_HEAD_BYTES].copy_from_slice(&FrameHead { kind, body_bytes }.encode());
    frame.freeze()
}
