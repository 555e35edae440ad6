//! The network as a value, so that the simulation can put its own in place.

mod local;
pub mod tls;

use std::{fmt, io, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

pub use self::local::{LocalListener, LocalStream, ProcessId};

/// How long a failure to accept is waited out.
const RETRY_ACCEPT_AFTER: Duration = Duration::from_millis(100);

/// A connection in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

pub type Stream = Box<dyn Io>;

/// Where a call came from, in the extensions of a request: `PeerAddr` itself with gRPC, axum's `ConnectInfo<PeerAddr>` with
/// HTTP.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddr(pub SocketAddr);

#[async_trait]
pub trait Listener: Send + Sync {
    async fn accept(&self) -> io::Result<(Stream, SocketAddr)>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

#[async_trait]
pub trait Network: Send + Sync + fmt::Debug + 'static {
    /// Connects to `host:port`.
    async fn connect(&self, addr: &str) -> io::Result<Stream>;
    /// Listens on `host:port`; port 0 takes a free one.
    async fn bind(&self, addr: &str) -> io::Result<Box<dyn Listener>>;

    /// As [`Self::connect`], if whoever is reached at `addr` listens on this host, as the same user, with
    /// [`Self::bind_local`].
    async fn connect_local(&self, _addr: &str) -> io::Result<LocalStream> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Listens for processes of this user on this host that would reach `addr` otherwise. Not every network has such a way.
    async fn bind_local(&self, _addr: &str) -> io::Result<LocalListener> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A machine that is gone, or cut off, says no goodbye: a connection on which nobody sends would stay for ever, and so
/// would what it holds. The other end is asked after this silence, again at this interval, and so many times.
const ASK_AFTER: Duration = Duration::from_secs(30);
const ASK_INTERVAL: Duration = Duration::from_secs(10);
const ASK_TIMES: u32 = 3;

/// The network of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

/// An address that cannot be listened on, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {cause}{}", advice(.cause))]
pub struct BindError {
    pub addr: String,
    #[source]
    pub cause: io::Error,
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => "; stop the process that listens there or configure another port",
        io::ErrorKind::AddrNotAvailable => "; the address does not belong to this machine",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need more rights, configure another port",
        _ => "",
    }
}

#[async_trait]
impl Network for Tcp {
    async fn connect(&self, addr: &str) -> io::Result<Stream> {
        let stream = TcpStream::connect(addr).await?;
        prepare(&stream)?;
        Ok(Box::new(stream))
    }

    async fn bind(&self, addr: &str) -> io::Result<Box<dyn Listener>> {
        let listener = TcpListener::bind(addr)
            .await
            .map_err(|cause| io::Error::new(cause.kind(), BindError { addr: addr.to_owned(), cause }))?;
        Ok(Box::new(TcpAccept(listener)))
    }

    async fn connect_local(&self, addr: &str) -> io::Result<LocalStream> {
        local::connect(addr).await
    }

    async fn bind_local(&self, addr: &str) -> io::Result<LocalListener> {
        LocalListener::bind(addr)
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let asking = TcpKeepalive::new().with_time(ASK_AFTER).with_interval(ASK_INTERVAL).with_retries(ASK_TIMES);
    SockRef::from(stream).set_tcp_keepalive(&asking)
}

struct TcpAccept(TcpListener);

#[async_trait]
impl Listener for TcpAccept {
    async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        prepare(&stream)?;
        Ok((Box::new(stream), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Accepts the next connection; a failure (no file handles left, a peer that is gone again) is logged and waited out.
pub async fn accept_next(listener: &dyn Listener) -> (Stream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(cause) => {
                tracing::warn!(%cause, "accepting a connection failed");
                tokio::time::sleep(RETRY_ACCEPT_AFTER).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_arrive_at_the_other_end() -> io::Result<()> {
        let listener = Tcp.bind("127.0.0.1:0").await?;
        let mut client = Tcp.connect(&listener.local_addr()?.to_string()).await?;
        let (mut server, _) = listener.accept().await?;
        client.write_all(b"hello").await?;
        let mut received = [0; 5];
        server.read_exact(&mut received).await?;
        assert_eq!(&received, b"hello");
        Ok(())
    }

    #[tokio::test]
    async fn a_silent_end_is_asked_whether_it_is_there() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let stream = TcpStream::connect(listener.local_addr()?).await?;
        prepare(&stream)?;
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive()?);
        assert_eq!(socket.tcp_keepalive_time()?, ASK_AFTER);
        Ok(())
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() -> io::Result<()> {
        let first = Tcp.bind("127.0.0.1:0").await?;
        let addr = first.local_addr()?.to_string();
        let error = Tcp.bind(&addr).await.err().expect("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr), "{error}");
        assert!(error.to_string().contains("configure another port"), "{error}");
        Ok(())
    }
}
