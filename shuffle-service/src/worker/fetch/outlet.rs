//! Where a fetch connection's bytes go: through this process, or from a file straight into the socket.

use std::{
    fs::File,
    io,
    net::{Shutdown, TcpStream},
    os::{fd::AsFd, unix::fs::FileExt},
    sync::Arc,
};

use bytes::Bytes;
use penstock_protocol::frame;
use rustix::{fs::sendfile, io::Errno};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::tcp,
};

use super::stream::Run;
use crate::{metrics, worker::store::Store};

/// Written the usual way when the socket takes nothing more: that waits until it does.
const PROBE_BYTES: u64 = 4 << 10;

pub(super) struct Outlet<W> {
    writer: W,
    /// The same socket once more, if there is one, for calls that may have to wait for a disk.
    socket: Option<Arc<TcpStream>>,
}

impl<W: AsyncWrite + Unpin> Outlet<W> {
    pub fn to_stream(writer: W) -> Self {
        Self { writer, socket: None }
    }

    pub fn sends_files(&self) -> bool {
        self.socket.is_some()
    }

    pub async fn write(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        frame::write_all(&mut self.writer, pieces).await
    }

    /// Sends a run whose head was written. After an error the connection is of no use: its reader waits for the rest.
    pub async fn send(&mut self, store: &Store, run: Run) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Err(io::ErrorKind::Unsupported.into()) };
        let unfinished = Unfinished(Some(Arc::clone(socket)));
        let (mut offset, end) = (run.offset, run.offset + run.bytes);
        while offset < end {
            let started = tokio::time::Instant::now();
            let some = send_some(Arc::clone(socket), Arc::clone(&run.file), offset, end);
            let Sent { bytes, probe } = match store.in_time(&run.place, some).await {
                Ok(sent) => sent?,
                Err(error) => {
                    tracing::warn!(%error, "sending shuffle data failed");
                    return Err(error);
                }
            };
            metrics::read_back(started.elapsed());
            store.pace.fetch.record(bytes, started.elapsed());
            self.writer.write_all(&probe).await?;
            offset += bytes + probe.len() as u64;
        }
        unfinished.done();
        Ok(())
    }
}

impl<'a> Outlet<tcp::WriteHalf<'a>> {
    pub fn to_socket(writer: tcp::WriteHalf<'a>) -> io::Result<Self> {
        let socket = writer.as_ref().as_fd().try_clone_to_owned()?;
        Ok(Self { writer, socket: Some(Arc::new(TcpStream::from(socket))) })
    }
}

/// Ends the connection when it is dropped: the kernel may go on with a run that nobody waits for any more, and nothing may be
/// written in between.
struct Unfinished(Option<Arc<TcpStream>>);

impl Unfinished {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // It may have ended already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// What the socket took, and what comes next if it took not everything.
struct Sent {
    bytes: u64,
    probe: Vec<u8>,
}

/// As much as the socket takes now, on a thread that may wait for the disk. The outer error is the disk's, the inner one the
/// connection's.
async fn send_some(
    socket: Arc<TcpStream>,
    file: Arc<File>,
    offset: u64,
    end: u64,
) -> io::Result<io::Result<Sent>> {
    let send = move || {
        let mut at = offset;
        while at < end {
            let rest = usize::try_from(end - at).unwrap_or(usize::MAX);
            // It moves `at` on.
            match sendfile(&*socket, &*file, Some(&mut at), rest) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error @ (Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::TIMEDOUT)) => {
                    return Ok(Err(error.into()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut probe = vec![0; usize::try_from(PROBE_BYTES.min(end - at)).expect("a few KiB")];
        file.read_exact_at(&mut probe, at)?;
        Ok(Ok(Sent { bytes: at - offset, probe }))
    };
    tokio::task::spawn_blocking(send).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

#[cfg(test)]
mod tests;
