//! The way between two processes of one user on one host that leaves the network out: Unix sockets.
//!
//! A socket is named after the address that its service has on the network. Names live in Linux' abstract namespace: like a
//! port, a name belongs to one network namespace, and it goes with its process, so that nothing is ever left behind. Such
//! names have no permissions: any process may take any name and connect to it. So both ends ask the kernel who the other one
//! is, and a name counts for no more than the port that it stands for: only for an address of this host.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    sync::OnceLock,
};

use tokio::net::{UnixListener, UnixStream};

use super::{RETRY_ACCEPT_AFTER, Stream};

/// As whom the kernel shows every user that has no number here: two of them need not be the same.
const NOBODY: u32 = 65534;

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

/// Why a connection past the network is none.
#[derive(Debug)]
enum Stranger {
    OtherUser,
    OtherHost,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherUser => "it belongs to another user",
            Self::OtherHost => "it is named after another host",
        })
    }
}

impl std::error::Error for Stranger {}

impl From<Stranger> for io::Error {
    fn from(stranger: Stranger) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, stranger)
    }
}

pub(super) async fn connect(addr: &str) -> io::Result<LocalStream> {
    let connected = of_same_user(UnixStream::connect(name_of(addr)).await?)?;
    // Asked last, since nearly always nobody listens under the name of another host.
    if tokio::net::lookup_host(addr).await?.any(is_here) {
        return Ok(connected);
    }
    Err(Stranger::OtherHost.into())
}

fn name_of(addr: &str) -> PathBuf {
    format!("\0penstock/{addr}").into()
}

fn of_same_user(stream: UnixStream) -> io::Result<LocalStream> {
    let peer = stream.peer_cred()?;
    if peer.uid() != own_user()? || peer.uid() == NOBODY {
        return Err(Stranger::OtherUser.into());
    }
    // A process of another namespace has the number 0.
    let process = peer.pid().and_then(|process| u32::try_from(process).ok()).filter(|process| *process > 0);
    Ok(LocalStream { stream: Box::new(stream), process: process.map(ProcessId) })
}

/// As whom other processes meet this one, which stays the same.
fn own_user() -> io::Result<u32> {
    static OWN: OnceLock<u32> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(*own);
    }
    let (own, _) = UnixStream::pair()?;
    let own = own.peer_cred()?.uid();
    Ok(*OWN.get_or_init(|| own))
}

/// Whether this host has the address: if so, what is sent there is sent from there. Nothing is sent to find out.
fn is_here(addr: SocketAddr) -> bool {
    let any = match addr {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let source = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(addr)?;
        socket.local_addr()
    };
    // Whatever stands behind these is on this host, and the kernel may choose another source for them.
    addr.ip().is_loopback() || addr.ip() == any || source().is_ok_and(|source| source.ip() == addr.ip())
}

#[cfg(test)]
mod tests;
