//! An accepted connection whose handshake happens when it is first read from or written to.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{Accept, server::TlsStream};

use crate::net::Stream;

pub(super) struct Handshake {
    peer: SocketAddr,
    state: State,
}

enum State {
    Shaking(Box<Accept<Stream>>),
    Done(Box<TlsStream<Stream>>),
    Failed,
}

impl Handshake {
    pub fn new(accept: Accept<Stream>, peer: SocketAddr) -> Self {
        Self { peer, state: State::Shaking(Box::new(accept)) }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TlsStream<Stream>>>> {
        if let State::Shaking(accept) = &mut self.state {
            self.state = match ready!(Pin::new(accept.as_mut()).poll(cx)) {
                Ok(stream) => State::Done(Box::new(stream)),
                Err(error) => {
                    tracing::warn!(peer = %self.peer, %error, "tls handshake failed");
                    self.state = State::Failed;
                    return Poll::Ready(Err(error));
                }
            };
        }
        Poll::Ready(match &mut self.state {
            State::Done(stream) => Ok(Pin::new(stream.as_mut())),
            State::Shaking(_) | State::Failed => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl AsyncRead for Handshake {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Handshake {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx))?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx))?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.state {
            // Nobody waits for a handshake only to say goodbye.
            State::Shaking(_) | State::Failed => Poll::Ready(Ok(())),
            State::Done(_) => ready!(self.poll_stream(cx))?.poll_shutdown(cx),
        }
    }
}
