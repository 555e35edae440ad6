//! TLS around any network: the same listeners and connections, encrypted, each server proved by a certificate and, if
//! wanted, each client too.
//!
//! Version 1.3 only, since all ends are our own. A handshake runs on the connection that it is for, never in the loop that
//! accepts, so that a slow stranger holds up nobody. Certificates are read again at SIGHUP; connections that are open go on
//! with the old ones.

mod files;
mod handshake;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::rustls::pki_types::ServerName;

pub use self::files::{TlsError, TlsFiles};
use self::{files::Loaded, handshake::Handshake};
use super::{Listener, Network, Stream};
use crate::lifecycle::{OnFailure, Tasks};

/// `network` itself if no files are named, else TLS around it, with certificates that are read again at SIGHUP.
pub fn wrap(
    network: Arc<dyn Network>,
    files: &TlsFiles,
    tasks: &Tasks,
) -> Result<Arc<dyn Network>, TlsError> {
    if !files.are_named() {
        return Ok(network);
    }
    let tls = Arc::new(Tls::new(network, files.clone())?);
    let (reloaded, stop) = (Arc::clone(&tls), tasks.stop_token());
    tasks.spawn("tls-reload", OnFailure::Log, async move {
        let mut hangup = signal(SignalKind::hangup())?;
        while stop.run_until_cancelled(hangup.recv()).await.flatten().is_some() {
            match reloaded.reload() {
                Ok(()) => tracing::info!("certificates were read again"),
                Err(error) => tracing::warn!(%error, "certificates stay as they were"),
            }
        }
        Ok::<_, io::Error>(())
    });
    Ok(tls)
}

/// TLS around another network.
pub struct Tls {
    inner: Arc<dyn Network>,
    files: TlsFiles,
    loaded: Arc<RwLock<Arc<Loaded>>>,
}

impl Tls {
    pub fn new(inner: Arc<dyn Network>, files: TlsFiles) -> Result<Self, TlsError> {
        let loaded = Arc::new(RwLock::new(Arc::new(Loaded::read(&files)?)));
        Ok(Self { inner, files, loaded })
    }

    /// Reads the files again, for connections from now on. After an error everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let loaded = Loaded::read(&self.files)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(())
    }

    fn server_name(&self, addr: &str) -> io::Result<ServerName<'static>> {
        let host = match self.files.server_name.as_str() {
            "" => addr.rsplit_once(':').map_or(addr, |(host, _)| host).trim_matches(['[', ']']),
            name => name,
        };
        ServerName::try_from(host.to_owned())
            .map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("inner", &self.inner).field("files", &self.files).finish()
    }
}

#[async_trait]
impl Network for Tls {
    async fn connect(&self, addr: &str) -> io::Result<Stream> {
        let name = self.server_name(addr)?;
        let loaded = current(&self.loaded);
        let stream = self.inner.connect(addr).await?;
        Ok(Box::new(loaded.connector.connect(name, stream).await?))
    }

    async fn bind(&self, addr: &str) -> io::Result<Box<dyn Listener>> {
        if current(&self.loaded).acceptor.is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, TlsError::NoCertificate));
        }
        let inner = self.inner.bind(addr).await?;
        Ok(Box::new(TlsListener { inner, loaded: Arc::clone(&self.loaded) }))
    }
}

struct TlsListener {
    inner: Box<dyn Listener>,
    loaded: Arc<RwLock<Arc<Loaded>>>,
}

#[async_trait]
impl Listener for TlsListener {
    async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.inner.accept().await?;
        let acceptor = current(&self.loaded).acceptor.clone();
        let acceptor = acceptor.ok_or_else(|| io::Error::other(TlsError::NoCertificate))?;
        Ok((Box::new(Handshake::new(acceptor.accept(stream), peer)), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

fn current(loaded: &RwLock<Arc<Loaded>>) -> Arc<Loaded> {
    Arc::clone(&loaded.read().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests;
