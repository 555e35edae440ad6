//! The stream to the coordinator: opened by the executor, introduced with a hello, encoded and decoded here.
//!
//! In: messages as plain types. Out: the same, or why there is no stream. Not here: what messages mean.

use std::{sync::Arc, time::Duration};

use penstock_common::{
    grpc::{self, MESSAGE_BYTES_MAX},
    net::Network,
};
use penstock_protocol::{
    decode::DecodeError,
    pb::{self, executor_api_client::ExecutorApiClient},
    wire::executor::{Hello, ToCoordinator, ToExecutor},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

/// From the call until the welcome.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the coordinator gets to read the last words and to close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages handed over and not written to the connection yet.
const OUTBOUND_MAX: usize = 64;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The coordinator will never have us.
    #[error("the coordinator refused this executor: {reason}")]
    Refused { reason: String },
    /// Trying again later may help.
    #[error("the coordinator is not available: {reason}")]
    Unavailable { reason: String },
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("the coordinator closed the stream")]
    Closed,
    #[error("the stream broke: {}", .0.message())]
    Broken(Status),
    #[error("a message of the coordinator cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
}

/// Opens streams to one coordinator.
#[derive(Debug, Clone)]
pub struct Connector {
    client: ExecutorApiClient<Channel>,
}

impl Connector {
    pub fn new(network: Arc<dyn Network>, addr: &str) -> Self {
        let client = ExecutorApiClient::new(grpc::channel(network, addr))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Self { client }
    }

    /// One try to open a stream and be welcomed on it.
    pub async fn open(self, hello: Hello) -> Result<Stream, OpenError> {
        tokio::time::timeout(OPEN_TIMEOUT, self.introduce(hello)).await.unwrap_or_else(|_| {
            Err(OpenError::Unavailable { reason: format!("no welcome within {} s", OPEN_TIMEOUT.as_secs()) })
        })
    }

    async fn introduce(mut self, hello: Hello) -> Result<Stream, OpenError> {
        let (outbound, messages) = mpsc::channel(OUTBOUND_MAX);
        let hello = pb::ToCoordinator::from(ToCoordinator::Hello(hello));
        let messages =
            tokio_stream::StreamExt::chain(tokio_stream::once(hello), ReceiverStream::new(messages));
        let inbound = self.client.connect(messages).await.map_err(unavailable)?.into_inner();
        let mut stream = Stream { outbound, inbound, heartbeat_interval: Duration::ZERO };
        match stream.next().await {
            Ok(ToExecutor::Welcome { heartbeat_interval }) => {
                stream.heartbeat_interval = heartbeat_interval.max(Duration::from_millis(1));
                Ok(stream)
            }
            Ok(ToExecutor::Refused { reason }) => Err(OpenError::Refused { reason }),
            Ok(_) => Err(OpenError::Unavailable { reason: "it spoke before it welcomed us".to_owned() }),
            Err(error) => Err(OpenError::Unavailable { reason: error.to_string() }),
        }
    }
}

fn unavailable(status: Status) -> OpenError {
    OpenError::Unavailable { reason: root_cause(&status) }
}

/// tonic says `transport error`; the cause below says which.
fn root_cause(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => cause.to_string(),
    }
}

/// An open stream after the welcome.
#[derive(Debug)]
pub struct Stream {
    outbound: mpsc::Sender<pb::ToCoordinator>,
    inbound: Streaming<pb::ToExecutor>,
    pub heartbeat_interval: Duration,
}

impl Stream {
    /// Hands a message to the connection; that it was handed over does not mean that it arrives.
    pub async fn send(&self, message: ToCoordinator) -> Result<(), StreamError> {
        self.outbound.send(message.into()).await.map_err(|_| StreamError::Closed)
    }

    /// The next message. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<ToExecutor, StreamError> {
        match self.inbound.message().await {
            Ok(Some(message)) => Ok(ToExecutor::try_from(message)?),
            Ok(None) => Err(StreamError::Closed),
            Err(status) => Err(StreamError::Broken(status)),
        }
    }

    /// Says everything that was handed over, then goodbye.
    pub async fn close(self) {
        let Self { outbound, mut inbound, .. } = self;
        drop(outbound);
        let drained = async { while let Ok(Some(_)) = inbound.message().await {} };
        if tokio::time::timeout(CLOSE_TIMEOUT, drained).await.is_err() {
            tracing::debug!("the coordinator did not close its side of the stream in time");
        }
    }
}
