//! A network that can be cut in silence: what is sent stays where it is, and nobody is told.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use async_trait::async_trait;
use penstock_common::net::{Listener, LocalListener, LocalStream, Network, Stream, Tcp};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// That of the machine, until it is cut.
#[derive(Debug, Clone, Default)]
pub struct Cuttable {
    is_cut: Arc<AtomicBool>,
}

impl Cuttable {
    /// For good: whoever waits for it waits for ever.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    fn wrap(&self, stream: Stream) -> Stream {
        Box::new(CuttableStream { stream, network: self.clone() })
    }

    async fn unless_cut<T>(&self, done: T) -> T {
        if self.is_cut() { std::future::pending().await } else { done }
    }
}

#[async_trait]
impl Network for Cuttable {
    async fn connect(&self, addr: &str) -> io::Result<Stream> {
        let connected = self.unless_cut(Tcp.connect(addr)).await;
        Ok(self.wrap(connected.await?))
    }

    async fn bind(&self, addr: &str) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(CuttableListener { listener: Tcp.bind(addr).await?, network: self.clone() }))
    }

    // The way past the network is not cut.
    async fn connect_local(&self, addr: &str) -> io::Result<LocalStream> {
        Tcp.connect_local(addr).await
    }

    async fn bind_local(&self, addr: &str) -> io::Result<LocalListener> {
        Tcp.bind_local(addr).await
    }
}

struct CuttableListener {
    listener: Box<dyn Listener>,
    network: Cuttable,
}

#[async_trait]
impl Listener for CuttableListener {
    async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let accepted = self.listener.accept().await;
        let (stream, peer) = self.network.unless_cut(accepted).await?;
        Ok((self.network.wrap(stream), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

struct CuttableStream {
    stream: Stream,
    network: Cuttable,
}

impl CuttableStream {
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.network.is_cut() { Poll::Pending } else { poll(Pin::new(&mut self.stream), cx) }
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream, cx| stream.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}
