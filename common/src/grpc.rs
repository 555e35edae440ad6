//! Builders for gRPC between our own processes: the same timeouts and keep-alive everywhere, over any [`Network`].

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, task, time::Duration};

use futures::FutureExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Channel, Endpoint, Server, Uri, server::Connected},
};

use crate::net::{self, Listener, Network, PeerAddr};

/// The largest message either side takes; callers set it on each generated client and server.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// How long calls in flight get when a server stops.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
#[error("serving grpc")]
pub struct ServeError(#[from] tonic::transport::Error);

/// How soon a peer that hangs, although its connection lives, is noticed: all calls to it fail then.
#[derive(Debug, Clone, Copy)]
pub struct KeepAlive {
    connect_timeout: Duration,
    /// A connection that was quiet for so long is tried.
    interval: Duration,
    timeout: Duration,
    while_idle: bool,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            connect_timeout: CONNECT_TIMEOUT,
            interval: KEEP_ALIVE_INTERVAL,
            timeout: KEEP_ALIVE_TIMEOUT,
            while_idle: true,
        }
    }
}

impl KeepAlive {
    /// Noticed after `silence` of a call, however long calls may take.
    pub fn within(silence: Duration) -> Self {
        let (interval, timeout) = (silence / 4, silence / 4 * 3);
        Self { connect_timeout: silence, interval, timeout, while_idle: false }
    }
}

/// A channel to `host:port` that connects at the first call and again after a loss.
pub fn channel(network: Arc<dyn Network>, addr: &str) -> Channel {
    channel_with(network, addr, KeepAlive::default())
}

pub fn channel_with(network: Arc<dyn Network>, addr: &str, keep_alive: KeepAlive) -> Channel {
    let addr: Arc<str> = addr.into();
    let connector = tower::service_fn(move |_: Uri| {
        let (network, addr) = (Arc::clone(&network), Arc::clone(&addr));
        async move { Ok::<_, io::Error>(TokioIo::new(network.connect(&addr).await?)) }
    });
    // The connector decides where to go; the endpoint's address only fills the `:authority` header.
    Endpoint::from_static("http://penstock")
        .connect_timeout(keep_alive.connect_timeout)
        .http2_keep_alive_interval(keep_alive.interval)
        .keep_alive_timeout(keep_alive.timeout)
        .keep_alive_while_idle(keep_alive.while_idle)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_with_connector_lazy(connector)
}

/// Serves until `stop`; then takes no more calls, gives those in flight a few seconds, and returns.
pub async fn serve(
    listener: Box<dyn Listener>,
    routes: Routes,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let incoming = futures::stream::unfold(listener, |listener| async move {
        let (stream, peer) = net::accept_next(listener.as_ref()).await;
        Some((Ok::<_, io::Error>(Connection { stream, peer }), listener))
    });
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_routes(routes)
        .serve_with_incoming_shutdown(Box::pin(incoming), stop.clone().cancelled_owned());
    let drained = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = server.map(|served| served.map_err(ServeError)) => served,
        () = drained => Ok(()),
    }
}

/// An accepted connection in the shape that tonic wants.
struct Connection {
    stream: net::Stream,
    peer: SocketAddr,
}

impl Connected for Connection {
    type ConnectInfo = PeerAddr;
    fn connect_info(&self) -> PeerAddr {
        PeerAddr(self.peer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &[u8],
    ) -> task::Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> task::Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
