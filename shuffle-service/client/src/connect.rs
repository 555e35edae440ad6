//! Opens a data connection to one life of a worker.

use std::{io, sync::Arc, time::Duration};

use penstock_common::net::{LocalStream, Network, Stream};
use penstock_protocol::{
    build,
    frame::{self, FRAME_BYTES_MAX, Fault, Hello, Kind, Purpose, ReadFrameError, Refusal, Welcome},
    shuffle::WorkerAddress,
};

use crate::metrics;

/// Why a connection ended or never came to be.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    /// Set if the worker itself gave the connection up.
    pub refusal: Option<Refusal>,
    /// Set if the worker said nothing for that long although it owed an answer.
    pub silence: Option<Duration>,
    pub reason: String,
}

impl Broken {
    pub fn because(reason: impl std::fmt::Display) -> Self {
        Self { refusal: None, silence: None, reason: reason.to_string() }
    }

    pub fn silent(silence: Duration) -> Self {
        Self { silence: Some(silence), ..Self::because(format_args!("no sign of life for {silence:?}")) }
    }

    /// No further try can end differently.
    pub fn is_final(&self) -> bool {
        matches!(self.refusal, Some(Refusal::OtherIncarnation | Refusal::OtherBuild))
    }
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self { refusal: Some(fault.refusal), silence: None, reason: fault.message }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::because(error)
    }
}

impl From<ReadFrameError> for Broken {
    fn from(error: ReadFrameError) -> Self {
        match error {
            ReadFrameError::Io(cause) => Self::because(format_args!("connection broke: {cause}")),
            ReadFrameError::Frame(cause) => Self::because(cause),
        }
    }
}

impl From<frame::FrameError> for Broken {
    fn from(error: frame::FrameError) -> Self {
        Self::because(error)
    }
}

/// Connects, past the network if the worker sits on this host, and says hello without waiting for the answer, which is the
/// first frame that comes.
pub(crate) async fn connect(
    network: &Arc<dyn Network>,
    worker: &WorkerAddress,
    purpose: Purpose,
    deadline: Duration,
) -> Result<LocalStream, Broken> {
    let open = async {
        let mut connected = match network.connect_local(&worker.data).await {
            Ok(local) => {
                metrics::connected("local");
                local
            }
            Err(_) => {
                let stream = network.connect(&worker.data).await?;
                metrics::connected("network");
                LocalStream { stream, process: None }
            }
        };
        let hello = Hello { purpose, incarnation: worker.incarnation, build: build().to_owned() };
        frame::write_all(&mut connected.stream, &[hello.encode()]).await?;
        Ok::<_, io::Error>(connected)
    };
    match tokio::time::timeout(deadline, open).await {
        Ok(opened) => opened
            .map_err(|cause| Broken::because(format_args!("cannot connect to {}: {cause}", worker.data))),
        Err(_) => Err(Broken::silent(deadline)),
    }
}

/// Reads the worker's answer to hello.
pub(crate) async fn welcome(stream: &mut Stream, deadline: Duration) -> Result<Welcome, Broken> {
    let frame = tokio::time::timeout(deadline, frame::read_frame(stream, FRAME_BYTES_MAX)).await;
    let frame = frame.map_err(|_| Broken::silent(deadline))??;
    let frame = frame.ok_or_else(|| Broken::because("connection closed before the welcome"))?;
    match frame.kind {
        Kind::Welcome => Ok(Welcome::parse(frame.body)?),
        Kind::Fault => Err(Fault::parse(frame.body)?.into()),
        kind => Err(Broken::because(format_args!("expected a welcome, got {kind:?}"))),
    }
}
