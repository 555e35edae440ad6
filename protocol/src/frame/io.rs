//! Frames from and to any byte stream.

use std::io::{self, IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{FRAME_HEAD_BYTES, Frame, FrameError, FrameHead};

/// Pieces that go out in one system call.
const SLICES_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum ReadFrameError {
    /// The stream broke or ended inside a frame.
    #[error("connection broke")]
    Io(#[from] io::Error),
    /// What came is not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Reads a whole frame and nothing beyond it; none if the stream ended between two frames.
pub async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    body_bytes_max: usize,
) -> Result<Option<Frame>, ReadFrameError> {
    let Some(head) = read_head(reader, body_bytes_max).await? else { return Ok(None) };
    let body = read_body(reader, head.body_bytes).await?;
    Ok(Some(Frame { kind: head.kind, body }))
}

/// Reads a head; none if the stream ended before its first byte.
async fn read_head<R: AsyncRead + Unpin>(
    reader: &mut R,
    body_bytes_max: usize,
) -> Result<Option<FrameHead>, ReadFrameError> {
    let mut head = [0; FRAME_HEAD_BYTES];
    let first = reader.read(&mut head).await?;
    if first == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut head[first..]).await?;
    Ok(Some(FrameHead::parse(head, body_bytes_max)?))
}

/// Reads a body into one buffer of its own.
async fn read_body<R: AsyncRead + Unpin>(reader: &mut R, body_bytes: usize) -> io::Result<Bytes> {
    let mut body = BytesMut::with_capacity(body_bytes);
    while body.len() < body_bytes {
        let missing = body_bytes - body.len();
        if reader.read_buf(&mut (&mut body).limit(missing)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body.freeze())
}

/// Writes pieces one after the other with as few system calls as possible, and flushes.
pub async fn write_all<W: AsyncWrite + Unpin>(writer: &mut W, pieces: &[Bytes]) -> io::Result<()> {
    let mut rest = pieces.to_vec();
    let mut pieces = &mut rest[..];
    while let Some(first) = pieces.first() {
        if first.is_empty() {
            pieces = &mut pieces[1..];
            continue;
        }
        let slices: Vec<IoSlice<'_>> =
            pieces.iter().take(SLICES_MAX).map(|piece| IoSlice::new(piece)).collect();
        let mut written = writer.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while written > 0 {
            let taken = written.min(pieces[0].len());
            pieces[0].advance(taken);
            written -= taken;
            if pieces[0].is_empty() {
                pieces = &mut pieces[1..];
            }
        }
    }
    writer.flush().await
}
