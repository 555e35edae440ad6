//! The way between two processes of one user on one host that leaves the network out: Unix sockets.
//!
//! A socket is named after the address that its service has on the network. Names live in Linux' abstract namespace: like a
//! port, a name belongs to one network namespace, and it goes with its process, so that nothing is ever left behind. Such
//! names have no permissions; both ends ask the kernel who the other one is instead.

use std::{io, path::PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::{RETRY_ACCEPT_AFTER, Stream};

/// A connection to a process of this host and user.
pub struct LocalStream {
    pub stream: Stream,
    /// The process at the other end, if it can be seen from here.
    pub process: Option<ProcessId>,
}

/// As this process's own namespace numbers processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessId(pub u32);

/// Takes connections of the same user only.
pub struct LocalListener(UnixListener);

impl LocalListener {
    pub(super) fn bind(addr: &str) -> io::Result<Self> {
        UnixListener::bind(name_of(addr)).map(Self)
    }

    /// The next connection. Strangers are sent away; a failure is logged and waited out.
    pub async fn accept(&self) -> LocalStream {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => match of_same_user(stream) {
                    Ok(accepted) => return accepted,
                    Err(cause) => tracing::debug!(%cause, "a local connection was turned away"),
                },
                Err(cause) => {
                    tracing::warn!(%cause, "accepting a local connection failed");
                    tokio::time::sleep(RETRY_ACCEPT_AFTER).await;
                }
            }
        }
    }
}

pub(super) async fn connect(addr: &str) -> io::Result<LocalStream> {
    of_same_user(UnixStream::connect(name_of(addr)).await?)
}

fn name_of(addr: &str) -> PathBuf {
    format!("\0penstock/{addr}").into()
}

fn of_same_user(stream: UnixStream) -> io::Result<LocalStream> {
    let peer = stream.peer_cred()?;
    let (own, _) = UnixStream::pair()?;
    if peer.uid() != own.peer_cred()?.uid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    // A process of another namespace has the number 0.
    let process = peer.pid().and_then(|process| u32::try_from(process).ok()).filter(|process| *process > 0);
    Ok(LocalStream { stream: Box::new(stream), process: process.map(ProcessId) })
}
