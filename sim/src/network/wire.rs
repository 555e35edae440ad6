//! Carries one connection's bytes, message by message.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use penstock_protocol::frame::{self, FRAME_BYTES_MAX, FrameHead};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

use super::{Weather, sockets::Socket};
use crate::faults::{Fate, Plane, Way};

/// How long the other side gets to take the last message before a cut.
const LAST_MESSAGE: Duration = Duration::from_secs(3);
const READ_BYTES: usize = 64 << 10;

pub(super) struct Wire {
    pub weather: Arc<Weather>,
    pub plane: Plane,
    pub name: String,
}

/// How one direction ended.
enum Ended {
    /// Nothing more comes this way; the other may go on.
    Quiet,
    /// Both directions end now.
    Cut,
    /// The last message is to be delivered, and nothing after it in either direction.
    CutAfter,
}

impl Wire {
    pub async fn carry(self, local: DuplexStream, remote: Socket) {
        let (mut local_reader, mut local_writer) = tokio::io::split(local);
        let (mut remote_reader, mut remote_writer) = tokio::io::split(remote);
        let ended = {
            let out = self.way(Way::Out, &mut local_reader, &mut remote_writer);
            let back = self.way(Way::In, &mut remote_reader, &mut local_writer);
            let (mut out, mut back) = (std::pin::pin!(out), std::pin::pin!(back));
            tokio::select! {
                biased;
                ended = &mut out => match ended {
                    Ended::Quiet => back.await,
                    cut => cut,
                },
                ended = &mut back => match ended {
                    Ended::Quiet => out.await,
                    cut => cut,
                },
            }
        };
        if matches!(ended, Ended::CutAfter) {
            close(local_reader, local_writer);
            let last_words = async {
                remote_writer.shutdown().await?;
                tokio::io::copy(&mut remote_reader, &mut tokio::io::sink()).await
            };
            // Whatever comes of it: the connection ends here.
            let _ = tokio::time::timeout(LAST_MESSAGE, last_words).await;
        }
    }

    async fn way<R, W>(&self, way: Way, reader: &mut R, writer: &mut W) -> Ended
    where
        R: tokio::io::AsyncRead + Unpin,
        W: tokio::io::AsyncWrite + Unpin,
    {
        loop {
            let Some((message, name)) = self.next(reader).await else {
                // The other side may still be reading.
                let _ = writer.shutdown().await;
                return Ended::Quiet;
            };
            let fate = self.fate(way, &name);
            if let Fate::Late(delay) = fate {
                tokio::time::sleep(delay).await;
            }
            let times = match fate {
                Fate::Lost => 0,
                Fate::Twice => 2,
                Fate::CutBefore => return Ended::Cut,
                Fate::Swallowed => {
                    // Kept open and read from, so that the sender notices nothing.
                    while self.next(reader).await.is_some() {}
                    return std::future::pending().await;
                }
                Fate::Delivered | Fate::Late(_) | Fate::CutAfter => 1,
            };
            for _ in 0..times {
                if writer.write_all(&message).await.is_err() {
                    return Ended::Cut;
                }
            }
            if writer.flush().await.is_err() {
                return Ended::Cut;
            }
            if fate == Fate::CutAfter {
                return if way == Way::Out { Ended::CutAfter } else { Ended::Cut };
            }
        }
    }

    /// The next message and what it is; none at the end.
    async fn next<R: tokio::io::AsyncRead + Unpin>(&self, reader: &mut R) -> Option<(Bytes, String)> {
        match self.plane {
            Plane::Rpc => {
                let mut bytes = BytesMut::with_capacity(READ_BYTES);
                let read = reader.read_buf(&mut bytes).await.ok()?;
                (read > 0).then(|| (bytes.freeze(), "rpc".to_owned()))
            }
            Plane::Data => {
                let read = frame::read_frame(reader, FRAME_BYTES_MAX).await.ok()??;
                let head = FrameHead { kind: read.kind, body_bytes: read.body.len() }.encode();
                Some(([&head[..], &read.body[..]].concat().into(), format!("{:?}", read.kind)))
            }
        }
    }

    fn fate(&self, way: Way, message: &str) -> Fate {
        if self.weather.is_calm() {
            return Fate::Delivered;
        }
        let (fate, kind) = self.weather.messages.fate(self.plane);
        if let Some(kind) = kind {
            self.weather.record.fault(kind, [], format_args!("{} {way:?} {message}", self.name));
        }
        fate
    }
}

/// Both halves have to go for the other side to see an end.
fn close(reader: ReadHalf<DuplexStream>, writer: WriteHalf<DuplexStream>) {
    drop((reader, writer));
}
