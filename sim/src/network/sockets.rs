//! The open sockets of one life of a host, so that they can be closed in one order when it dies.
//!
//! A runtime drops its tasks in an order that depends on what else the process runs, and with them their sockets; the order
//! of their last messages would then differ between two runs of one seed.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

#[derive(Debug, Default)]
pub struct Sockets {
    open: Mutex<Vec<Weak<Shared>>>,
    closed: AtomicBool,
}

type Shared = Mutex<Option<TcpStream>>;

impl Sockets {
    pub fn are_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub fn add(&self, stream: TcpStream) -> Socket {
        let shared = Arc::new(Mutex::new(Some(stream)));
        let mut open = lock(&self.open);
        open.retain(|socket| socket.strong_count() > 0);
        open.push(Arc::downgrade(&shared));
        Socket(shared)
    }

    /// The oldest first; no others can be opened.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        for socket in std::mem::take(&mut *lock(&self.open)) {
            drop(socket.upgrade().and_then(|socket| lock(&socket).take()));
        }
    }
}

#[derive(Debug)]
pub struct Socket(Arc<Shared>);

impl Socket {
    fn with<T>(&self, act: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match lock(&self.0).as_mut() {
            Some(stream) => act(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(cx))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
