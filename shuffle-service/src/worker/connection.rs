//! Accepts data connections and says hello.

use std::{fmt, io, sync::Arc, time::Duration};

use penstock_common::{
    lifecycle::{CancellationToken, OnFailure, Tasks},
    net::{self, Listener, Stream},
};
use penstock_protocol::{
    build,
    frame::{
        self, FRAME_BYTES_MAX, Fault, FrameError, Hello, Kind, Purpose, ReadFrameError, Refusal, Welcome,
    },
};

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

/// Accepts until `stop`. Each connection is a task of its own whose end concerns nobody else.
pub(super) async fn accept(
    listener: Box<dyn Listener>,
    store: Arc<Store>,
    tasks: Tasks,
) -> Result<(), std::convert::Infallible> {
    let stop = tasks.stop_token();
    // Held once here, and once by each connection.
    let open = Arc::new(());
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            accepted = net::accept_next(listener.as_ref()) => accepted,
        };
        // Beyond the limit a connection is closed at once; its client tries again later.
        let connections_max = store.settings.get().connections_max;
        if Arc::strong_count(&open) > connections_max {
            tracing::warn!(%peer, connections_max, "too many data connections");
            continue;
        }
        let (store, stop, open) = (Arc::clone(&store), stop.clone(), Arc::clone(&open));
        tasks.spawn("data-connection", OnFailure::Log, async move {
            let _counted = (open, OpenConnection::new());
            if let Err(ended) = serve(stream, store, stop).await {
                match ended {
                    Ended::Lost(error) => tracing::debug!(%peer, %error, "data connection broke"),
                    Ended::Fault(refusal, message) => {
                        metrics::faulted_connection(refusal);
                        tracing::warn!(%peer, %refusal, message, "data connection refused")
                    }
                }
            }
            Ok::<_, std::convert::Infallible>(())
        });
    }
}

async fn serve(mut stream: Stream, store: Arc<Store>, stop: CancellationToken) -> Result<(), Ended> {
    let serve = async {
        let hello = hello(&mut stream, &store).await?;
        let frame_bytes_max = frame_bytes_max(&store);
        let welcome =
            Welcome { frame_bytes_max: u32::try_from(frame_bytes_max).expect("below FRAME_BYTES_MAX") };
        frame::write_all(&mut stream, &[welcome.encode()]).await?;
        match hello.purpose {
            Purpose::Push => push::serve(&mut stream, &store, Share::Clients, frame_bytes_max).await,
            Purpose::Replicate => push::serve(&mut stream, &store, Share::Replicas, frame_bytes_max).await,
            Purpose::Fetch => fetch::serve(&mut stream, &store).await,
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
    build::require_same("the client", &hello.build, "shuffle worker")
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
