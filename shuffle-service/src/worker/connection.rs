//! Accepts data connections and says hello.

mod turn_away;

use std::{convert::Infallible, fmt, io, sync::Arc, time::Duration};

use penstock_common::{
    lifecycle::{CancellationToken, OnFailure, Tasks},
    net::{self, Listener, LocalListener, Stream},
};
use penstock_protocol::{
    build,
    frame::{
        self, FRAME_BYTES_MAX, Fault, FrameError, Hello, Kind, Purpose, ReadFrameError, Refusal, Welcome,
    },
};

use self::turn_away::TurnedAway;
use super::{
    fetch,
    memory::{REPLICAS_PART, Share},
    push,
    store::Store,
};
use crate::metrics::{self, OpenConnection};

/// A client that does not say hello in this time is none.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// A hello is a few dozen bytes.
const HELLO_BYTES_MAX: usize = 4 << 10;
/// A connection on which the client says nothing for this long is closed; clients reconnect when they need to.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Why a connection ended early.
#[derive(Debug)]
pub(super) enum Ended {
    /// The peer is gone: its business.
    Lost(io::Error),
    /// The peer does not follow the protocol.
    Fault(Refusal, String),
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
        }
    }
}

/// What data connections are served from and owned by.
pub(super) struct Connections {
    store: Arc<Store>,
    /// Held once here, and once by each connection.
    open: Arc<()>,
    turned_away: TurnedAway,
    tasks: Tasks,
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
        Arc::new(Self { store, open: Arc::new(()), turned_away: TurnedAway::new(), tasks })
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

    fn admit(&self, stream: Stream, side: Side, peer: String) {
        let connections_max = self.store.settings.get().connections_max;
        if Arc::strong_count(&self.open) > connections_max {
            return self.turned_away.turn_away(stream, &peer, connections_max, &self.tasks);
        }
        let open = Arc::clone(&self.open);
        let (store, stop) = (Arc::clone(&self.store), self.tasks.stop_token());
        self.tasks.spawn("data-connection", OnFailure::Log, async move {
            let _counted = (open, OpenConnection::new());
            if let Err(ended) = serve(stream, side, store, stop).await {
                match ended {
                    Ended::Lost(error) => tracing::debug!(peer, %error, "data connection broke"),
                    Ended::Fault(refusal, message) => {
                        metrics::faulted_connection(refusal);
                        tracing::warn!(peer, %refusal, message, "data connection refused")
                    }
                }
            }
            Ok::<_, Infallible>(())
        });
    }
}

async fn serve(
    mut stream: Stream,
    side: Side,
    store: Arc<Store>,
    stop: CancellationToken,
) -> Result<(), Ended> {
    let serve = async {
        let hello = hello(&mut stream, &store).await?;
        let frame_bytes_max = frame_bytes_max(&store);
        let welcome =
            Welcome { frame_bytes_max: u32::try_from(frame_bytes_max).expect("below FRAME_BYTES_MAX") };
        frame::write_all(&mut stream, &[welcome.encode()]).await?;
        match hello.purpose {
            Purpose::Push => push::serve(&mut stream, &store, Share::Clients, frame_bytes_max).await,
            Purpose::Replicate => push::serve(&mut stream, &store, Share::Replicas, frame_bytes_max).await,
            Purpose::Fetch => fetch::serve(&mut stream, side, &store).await,
        }
    };
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Ended::Fault(Refusal::Stopping, "the worker is stopping".to_owned())),
        ended = serve => ended,
    };
    if let Err(Ended::Fault(refusal, message)) = &ended {
        let fault = Fault { refusal: *refusal, message: message.clone() };
        // The peer may be gone already, or not reading.
        let _ =
            tokio::time::timeout(Duration::from_secs(1), frame::write_all(&mut stream, &[fault.encode()]))
                .await;
        if *refusal == Refusal::Stopping {
            return Ok(());
        }
    }
    ended
}

async fn hello(stream: &mut Stream, store: &Store) -> Result<Hello, Ended> {
    let frame = tokio::time::timeout(HELLO_TIMEOUT, frame::read_frame(stream, HELLO_BYTES_MAX)).await;
    let frame = frame.map_err(|_| Ended::Fault(Refusal::BadFrame, "no hello in time".to_owned()))??;
    let frame = frame.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    if frame.kind != Kind::Hello {
        return Err(Ended::Fault(Refusal::BadFrame, format!("expected a hello, got {:?}", frame.kind)));
    }
    let hello = Hello::parse(frame.body)?;
    build::require_same_release("the client", &hello.build, "shuffle worker")
        .map_err(|refusal| Ended::Fault(Refusal::OtherBuild, refusal.to_string()))?;
    let answered = match hello.purpose {
        Purpose::Push | Purpose::Replicate => hello.incarnation == store.incarnation,
        // Each stream is checked by itself: only what that life committed is served.
        Purpose::Fetch => store.serves(hello.incarnation),
    };
    if !answered {
        let message =
            format!("worker {} lives as {}, not as {}", store.worker, store.incarnation, hello.incarnation);
        return Err(Ended::Fault(Refusal::OtherIncarnation, message));
    }
    Ok(hello)
}

/// So that a few frames fit in at the same time, and one always fits into what is kept for second copies.
fn frame_bytes_max(store: &Store) -> usize {
    usize::try_from(store.budget.bytes_max() / REPLICAS_PART).unwrap_or(usize::MAX).min(FRAME_BYTES_MAX)
}
