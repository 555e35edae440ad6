//! turmoil's network behind [`penstock_common::net::Network`], with messages that suffer on the way.
//!
//! Whoever opens a connection gets one end of a pipe; a task of this host carries bytes between the pipe and turmoil's
//! connection and asks for each message what becomes of it. Without message faults there is no pipe. Not here: links and
//! hosts, which turmoil holds, cuts and crashes when it is told to.

mod sockets;
mod wire;

use std::{io, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use penstock_common::{
    lifecycle::{OnFailure, Tasks},
    net::{Listener, Network, Stream},
};
use turmoil::net::{TcpListener, TcpStream};

pub use self::sockets::Sockets;
use self::wire::Wire;
use crate::{
    faults::{Kind, Messages, Plane},
    record::Record,
    topology::WORKER_DATA_PORT,
};

/// Bytes that a pipe holds in one direction.
const PIPE_BYTES: usize = 256 << 10;

/// What all hosts of a run share.
#[derive(Debug)]
pub struct Weather {
    pub messages: Messages,
    pub record: Arc<Record>,
    pub calm_at_ms: u64,
}

impl Weather {
    pub fn is_calm(&self) -> bool {
        self.record.now_ms() >= self.calm_at_ms
    }
}

/// The network as one life of one host sees it.
#[derive(Debug, Clone)]
pub struct SimNetwork {
    pub host: Arc<str>,
    pub weather: Arc<Weather>,
    /// Owns what carries bytes; gone with the host.
    pub tasks: Tasks,
    pub sockets: Arc<Sockets>,
}

#[async_trait]
impl Network for SimNetwork {
    async fn connect(&self, addr: &str) -> io::Result<Stream> {
        if !self.weather.is_calm() && self.weather.messages.refuses_connection() {
            self.weather.record.fault(Kind::ConnectionRefused, [], format_args!("{} to {addr}", self.host));
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if self.sockets.are_closed() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let remote = self.sockets.add(TcpStream::connect(addr).await?);
        if self.weather.is_calm() || !self.weather.messages.happen() {
            return Ok(Box::new(remote));
        }
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let wire = Wire {
            weather: Arc::clone(&self.weather),
            plane: plane(addr),
            name: format!("{} to {addr}", self.host),
        };
        self.tasks.spawn("wire", OnFailure::Log, async move {
            wire.carry(theirs, remote).await;
            Ok::<(), std::convert::Infallible>(())
        });
        Ok(Box::new(ours))
    }

    async fn bind(&self, addr: &str) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(SimListener(TcpListener::bind(addr).await?, Arc::clone(&self.sockets))))
    }
}

fn plane(addr: &str) -> Plane {
    let port = addr.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    if port == Some(WORKER_DATA_PORT) { Plane::Data } else { Plane::Rpc }
}

struct SimListener(TcpListener, Arc<Sockets>);

#[async_trait]
impl Listener for SimListener {
    async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Box::new(self.1.add(stream)), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
