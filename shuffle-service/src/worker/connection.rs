//! Accepts data connections and says hello.

mod hello;
mod turn_away;

use std::{
    convert::Infallible,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use penstock_common::{
    lifecycle::{OnFailure, Tasks},
    net::{self, Listener, LocalListener, Stream},
};
use penstock_protocol::frame::{
    self, FRAME_BYTES_MAX, Fault, FrameError, Purpose, ReadFrameError, Refusal, Welcome,
};
use tokio::io::AsyncWriteExt;

use self::{
    hello::{Stranger, Strangers},
    turn_away::TurnedAway,
};
use super::{
    fetch,
    memory::{REPLICAS_PART, Share},
    push,
    store::Store,
};
use crate::metrics::{self, OpenConnection};

/// A peer to which a connection's end is told is not waited for longer.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection on which the client says nothing for this long is closed; clients reconnect when they need to.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Why a connection ended early.
#[derive(Debug)]
pub(super) enum Ended {
    /// The peer is gone: its business.
    Lost(io::Error),
    /// The peer does not follow the protocol.
    Fault(Refusal, String),
    /// There is no room for one more.
    TurnedAway(String),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<FrameError> for Ended {
    fn from(error: FrameError) -> Self {
        Self::Fault(Refusal::BadFrame, error.to_string())
    }
}

impl From<ReadFrameError> for Ended {
    fn from(error: ReadFrameError) -> Self {
        match error {
            ReadFrameError::Io(error) => error.into(),
            ReadFrameError::Frame(error) => error.into(),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(error) => write!(f, "connection broke: {error}"),
            Self::Fault(refusal, message) => write!(f, "{refusal}: {message}"),
            Self::TurnedAway(message) => f.write_str(message),
        }
    }
}

/// What data connections are served from and owned by.
pub(super) struct Connections {
    store: Arc<Store>,
    strangers: Arc<Strangers>,
    /// Connections that have said hello.
    open: Arc<AtomicUsize>,
    turned_away: Arc<TurnedAway>,
    tasks: Tasks,
}

/// One of at most `connections_max`.
struct Open {
    all: Arc<AtomicUsize>,
    _shown: OpenConnection,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a client sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Network,
    /// On this host, as the same user.
    Local,
}

impl Connections {
    pub fn new(store: Arc<Store>, tasks: Tasks) -> Arc<Self> {
        let (strangers, open, turned_away) = (Arc::default(), Arc::default(), TurnedAway::new(tasks.clone()));
        Arc::new(Self { store, strangers, open, turned_away, tasks })
    }

    /// Accepts until the worker stops. Each connection is a task of its own whose end concerns nobody else.
    pub async fn accept(self: Arc<Self>, listener: Box<dyn Listener>) -> Result<(), Infallible> {
        let stop = self.tasks.stop_token();
        while let Some((stream, peer)) = stop.run_until_cancelled(net::accept_next(listener.as_ref())).await {
            self.admit(stream, Side::Network, peer.to_string());
        }
        Ok(())
    }

    /// The same for clients on this host.
    pub async fn accept_local(self: Arc<Self>, listener: LocalListener) -> Result<(), Infallible> {
        let stop = self.tasks.stop_token();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let peer = accepted.process.map_or(0, |process| process.0);
            self.admit(accepted.stream, Side::Local, format!("process {peer}"));
        }
        Ok(())
    }

    fn admit(self: &Arc<Self>, stream: Stream, side: Side, peer: String) {
        let (connections, stranger) = (Arc::clone(self), self.strangers.enter());
        self.tasks.spawn("data-connection", OnFailure::Log, async move {
            connections.attend(stream, stranger, side, &peer).await;
            Ok::<_, Infallible>(())
        });
    }

    /// Serves a connection to its end, of which the peer hears.
    async fn attend(&self, mut stream: Stream, stranger: Stranger, side: Side, peer: &str) {
        let stop = self.tasks.stop_token();
        let ended = stop.run_until_cancelled(self.serve(&mut stream, stranger, side)).await;
        let stopping = || Err(Ended::Fault(Refusal::Stopping, "the worker is stopping".to_owned()));
        match ended.unwrap_or_else(stopping) {
            Ok(()) => {}
            Err(Ended::Lost(error)) => tracing::debug!(peer, %error, "data connection broke"),
            Err(Ended::TurnedAway(reason)) => {
                Arc::clone(&self.turned_away).turn_away(stream, peer, reason).await;
            }
            Err(Ended::Fault(refusal, message)) => {
                if refusal != Refusal::Stopping {
                    metrics::faulted_connection(refusal);
                    tracing::warn!(peer, %refusal, message, "data connection refused");
                }
                say_goodbye(stream, Fault { refusal, message }).await;
            }
        }
    }

    async fn serve(&self, stream: &mut Stream, stranger: Stranger, side: Side) -> Result<(), Ended> {
        let store = &self.store;
        let hello = stranger.hello(stream, store).await?;
        let _open = self.open()?;
        let frame_bytes_max = frame_bytes_max(store);
        let welcome =
            Welcome { frame_bytes_max: u32::try_from(frame_bytes_max).expect("below FRAME_BYTES_MAX") };
        frame::write_all(stream, &[welcome.encode()]).await?;
        match hello.purpose {
            Purpose::Push => push::serve(stream, store, Share::Clients, frame_bytes_max).await,
            Purpose::Replicate => push::serve(stream, store, Share::Replicas, frame_bytes_max).await,
            Purpose::Fetch => fetch::serve(stream, side, store).await,
        }
    }

    fn open(&self) -> Result<Open, Ended> {
        let connections_max = self.store.settings.get().connections_max;
        let one_more = |open| (open < connections_max).then_some(open + 1);
        match self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Open { all: Arc::clone(&self.open), _shown: OpenConnection::new() }),
            Err(_) => {
                Err(Ended::TurnedAway(format!("its {connections_max} data connections are all in use")))
            }
        }
    }
}

/// Tells the peer why the connection ends. It may be gone already, or not reading.
async fn say_goodbye(mut stream: Stream, fault: Fault) {
    let goodbye = async {
        frame::write_all(&mut stream, &[fault.encode()]).await?;
        stream.shutdown().await?;
        // Closed before all that the peer sends is read, a connection may lose what was sent along it.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await;
}

/// So that a few frames fit in at the same time, and one always fits into what is kept for second copies.
fn frame_bytes_max(store: &Store) -> usize {
    usize::try_from(store.budget.bytes_max() / REPLICAS_PART).unwrap_or(usize::MAX).min(FRAME_BYTES_MAX)
}
