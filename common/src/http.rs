//! Serves an axum router over any [`Network`](crate::net::Network).

use std::{io, net::SocketAddr, time::Duration};

use axum::{Router, extract::connect_info::Connected, serve::IncomingStream};
use tokio_util::sync::CancellationToken;

use crate::net::{self, Listener, PeerAddr};

/// How long requests in flight get when a server stops.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
#[error("serving http")]
pub struct ServeError(#[from] io::Error);

/// Serves until `stop`; then takes no more requests, gives those in flight a few seconds, and returns.
pub async fn serve(
    listener: Box<dyn Listener>,
    router: Router,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let service = router.into_make_service_with_connect_info::<PeerAddr>();
    let server =
        axum::serve(Accept(listener), service).with_graceful_shutdown(stop.clone().cancelled_owned());
    let drained = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = async { server.await } => Ok(served?),
        () = drained => Ok(()),
    }
}

struct Accept(Box<dyn Listener>);

impl axum::serve::Listener for Accept {
    type Io = net::Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (net::Stream, SocketAddr) {
        net::accept_next(self.0.as_ref()).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Accept>> for PeerAddr {
    fn connect_info(stream: IncomingStream<'_, Accept>) -> Self {
        Self(*stream.remote_addr())
    }
}
