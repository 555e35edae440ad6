//! A network whose connections break after so many bytes, so that outcomes are unknown.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use penstock_common::net::{Listener, Network, Stream, Tcp};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Each connection takes the next limits from a list; those after the list never break.
#[derive(Debug, Default)]
pub struct Breaking {
    limits: Mutex<Vec<Limits>>,
    pub connections: AtomicUsize,
}

/// Bytes that a connection carries in each direction before it breaks.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub write: usize,
    pub read: usize,
}

impl Breaking {
    pub fn new(mut limits: Vec<Limits>) -> Arc<Self> {
        limits.reverse();
        Arc::new(Self { limits: Mutex::new(limits), connections: AtomicUsize::new(0) })
    }
}

#[async_trait::async_trait]
impl Network for Breaking {
    async fn connect(&self, addr: &str) -> io::Result<Stream> {
        let stream = Tcp.connect(addr).await?;
        self.connections.fetch_add(1, Ordering::SeqCst);
        let limits = self.limits.lock().unwrap().pop();
        let limits = limits.unwrap_or(Limits { write: usize::MAX, read: usize::MAX });
        Ok(Box::new(Limited { stream, limits }))
    }

    async fn bind(&self, addr: &str) -> io::Result<Box<dyn Listener>> {
        Tcp.bind(addr).await
    }
}

struct Limited {
    stream: Stream,
    limits: Limits,
}

fn broken<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.limits.read == 0 {
            return broken();
        }
        let mut part = buf.take(self.limits.read);
        let before = part.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        let filled = part.filled().len() - before;
        let bytes = part.filled()[before..].to_vec();
        buf.put_slice(&bytes);
        self.limits.read -= filled;
        read
    }
}

impl AsyncWrite for Limited {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.limits.write == 0 {
            return broken();
        }
        let part = &buf[..buf.len().min(self.limits.write)];
        let written = Pin::new(&mut self.stream).poll_write(cx, part);
        if let Poll::Ready(Ok(written)) = written {
            self.limits.write -= written;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
