//! Networks on which outcomes are unknown: connections break after so many bytes, or stand still.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use penstock_common::net::{Listener, Network, Stream, Tcp};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};

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

/// Nothing more comes from these addresses, or no connection is made at all. Nothing breaks: what is sent there arrives.
#[derive(Debug, Default)]
pub struct Standing {
    still: Mutex<BTreeSet<String>>,
    refused: Mutex<BTreeSet<String>>,
    /// What stood still may go on.
    changed: watch::Sender<()>,
    /// Tries to connect to each address.
    tries: Mutex<BTreeMap<String, usize>>,
}

impl Standing {
    pub fn stop(&self, address: &str) {
        self.still.lock().unwrap().insert(address.to_owned());
    }

    pub fn refuse(&self, address: &str) {
        self.refused.lock().unwrap().insert(address.to_owned());
    }

    /// Everything goes on.
    pub fn go(&self) {
        self.still.lock().unwrap().clear();
        self.refused.lock().unwrap().clear();
        self.changed.send_replace(());
    }

    pub fn tries(&self, address: &str) -> usize {
        self.tries.lock().unwrap().get(address).copied().unwrap_or(0)
    }

    async fn may_go(self: Arc<Self>, address: String) {
        let mut changed = self.changed.subscribe();
        while self.still.lock().unwrap().contains(&address) {
            changed.changed().await.unwrap();
        }
    }
}

/// For clients; whoever listens does so on the network of the machine.
#[derive(Debug, Clone, Default)]
pub struct StandingNetwork(pub Arc<Standing>);

#[async_trait::async_trait]
impl Network for StandingNetwork {
    async fn connect(&self, addr: &str) -> io::Result<Stream> {
        *self.0.tries.lock().unwrap().entry(addr.to_owned()).or_default() += 1;
        if self.0.refused.lock().unwrap().contains(addr) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let stream = Tcp.connect(addr).await?;
        Ok(Box::new(Still { stream, standing: Arc::clone(&self.0), address: addr.to_owned(), wait: None }))
    }

    async fn bind(&self, addr: &str) -> io::Result<Box<dyn Listener>> {
        Tcp.bind(addr).await
    }
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Still {
    stream: Stream,
    standing: Arc<Standing>,
    address: String,
    wait: Option<Wait>,
}

impl AsyncRead for Still {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let still = &mut *self;
        let (standing, address) = (&still.standing, &still.address);
        let wait = still.wait.get_or_insert_with(|| Box::pin(Arc::clone(standing).may_go(address.clone())));
        ready!(wait.as_mut().poll(cx));
        still.wait = None;
        Pin::new(&mut still.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Still {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
