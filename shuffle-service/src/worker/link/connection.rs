//! The connection of one link: connects with the first batch, sends in order, matches answers. It ends with the first
//! thing that goes wrong; whatever has no answer then is of unknown outcome.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_common::{
    lifecycle::CancellationToken,
    net::{Network, Stream},
    retry::{Backoff, retry},
    silence::Silence,
};
use penstock_protocol::{
    build,
    frame::{
        self, Acks, Answer, FRAME_BYTES_MAX, Fault, FrameError, Hello, Kind, Purpose, PushHead, PushRecorder,
        ReadFrameError, Refusal, Welcome,
    },
    ids::ShuffleId,
    shuffle::WorkerAddress,
    token::{ClusterSecret, JobToken},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
};

use super::Forward;
use crate::metrics;

/// An unused connection shows that it is alive, and that the other end is.
const PING_AFTER: Duration = Duration::from_secs(60);
/// Before anything was sent on it a connection may be opened again: many come at once when a worker has started.
const CONNECT_TRIES: u32 = 4;
const CONNECT_PAUSE: Duration = Duration::from_millis(50);
const CONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Bytes of queued frames that go out in one write.
const WRITE_BYTES: usize = 1 << 20;

pub(super) struct Connection {
    replica: Arc<WorkerAddress>,
    /// Of the cluster that both workers belong to.
    secret: Option<ClusterSecret>,
    silence: Duration,
    queue: mpsc::Receiver<Forward>,
    unanswered: Mutex<VecDeque<Sent>>,
    next_request: u64,
}

struct Sent {
    request: u64,
    /// None for a ping.
    answer: Option<oneshot::Sender<Answer>>,
    _window: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Refused(String),
    #[error("it takes no more connections: {0}")]
    TurnedAway(String),
    #[error("no sign of life")]
    Silent,
    #[error("a frame of {bytes} bytes is longer than it takes, {max}")]
    TooLong { bytes: usize, max: usize },
}

impl Broken {
    /// Whether another connection may have more luck.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Io(_) | Self::TurnedAway(_))
    }
}

impl From<Fault> for Broken {
    fn from(Fault { refusal, message }: Fault) -> Self {
        match refusal {
            Refusal::NoRoom => Self::TurnedAway(message),
            _ => Self::Refused(message),
        }
    }
}

impl From<ReadFrameError> for Broken {
    fn from(error: ReadFrameError) -> Self {
        match error {
            ReadFrameError::Io(error) => error.into(),
            ReadFrameError::Frame(error) => error.into(),
        }
    }
}

impl Connection {
    pub fn new(
        replica: Arc<WorkerAddress>,
        secret: Option<ClusterSecret>,
        silence: Duration,
        queue: mpsc::Receiver<Forward>,
    ) -> Self {
        Self { replica, secret, silence, queue, unanswered: Mutex::default(), next_request: 0 }
    }

    /// Runs until the link breaks, nobody uses it any more, or the worker stops.
    pub async fn run(mut self, network: Arc<dyn Network>, stop: CancellationToken) -> Result<(), Infallible> {
        let served = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            served = self.serve(&network) => served,
        };
        if let Err(broken) = served {
            metrics::link_broke();
            tracing::warn!(replica = %self.replica.worker, reason = %broken, "second copies are given up");
        }
        Ok(())
    }

    async fn serve(&mut self, network: &Arc<dyn Network>) -> Result<(), Broken> {
        let Some(first) = self.queue.recv().await else { return Ok(()) };
        let pauses = Backoff::new(CONNECT_PAUSE, CONNECT_PAUSE_MAX).tries(CONNECT_TRIES);
        let connect = || connect(network, &self.replica, self.silence);
        let (stream, welcome) = retry(pauses, Broken::may_pass, connect).await?;
        let body_bytes_max = (welcome.frame_bytes_max as usize).min(FRAME_BYTES_MAX);
        let (reader, mut writer) = tokio::io::split(stream);
        let mut reader = BufReader::new(reader);
        let Self { replica, secret, silence, queue, unanswered, next_request } = self;
        let mut sender = Sender { replica, secret, unanswered, next_request, body_bytes_max };
        tokio::select! {
            ended = sender.run(&mut writer, queue, first) => ended,
            ended = receive(&mut reader, unanswered, *silence) => ended,
        }
    }
}

async fn connect(
    network: &Arc<dyn Network>,
    replica: &WorkerAddress,
    patience: Duration,
) -> Result<(Stream, Welcome), Broken> {
    let connected = tokio::time::timeout(patience, say_hello(network, replica)).await;
    connected.unwrap_or(Err(Broken::Silent))
}

async fn say_hello(network: &Arc<dyn Network>, replica: &WorkerAddress) -> Result<(Stream, Welcome), Broken> {
    let mut stream = network.connect(&replica.data).await?;
    let hello =
        Hello { purpose: Purpose::Replicate, incarnation: replica.incarnation, build: build().to_owned() };
    frame::write_all(&mut stream, &[hello.encode()]).await?;
    let frame = frame::read_frame(&mut stream, FRAME_BYTES_MAX).await?;
    let frame = frame.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    match frame.kind {
        Kind::Welcome => Ok((stream, Welcome::parse(frame.body)?)),
        Kind::Fault => Err(Fault::parse(frame.body)?.into()),
        kind => Err(Broken::Refused(format!("expected a welcome, got {kind:?}"))),
    }
}

struct Sender<'a> {
    replica: &'a WorkerAddress,
    secret: &'a Option<ClusterSecret>,
    unanswered: &'a Mutex<VecDeque<Sent>>,
    next_request: &'a mut u64,
    body_bytes_max: usize,
}

impl Sender<'_> {
    async fn run<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        queue: &mut mpsc::Receiver<Forward>,
        first: Forward,
    ) -> Result<(), Broken> {
        let mut next = Some(first);
        loop {
            let (mut pieces, mut bytes) = (Vec::new(), 0);
            while let Some(forward) = next {
                bytes += self.encode(forward, &mut pieces)?;
                next = if bytes < WRITE_BYTES { queue.try_recv().ok() } else { None };
            }
            frame::write_all(writer, &pieces).await?;
            drop(pieces);
            next = match tokio::time::timeout(PING_AFTER, queue.recv()).await {
                Ok(Some(forward)) => Some(forward),
                Ok(None) => return Ok(()),
                Err(_) => {
                    frame::write_all(writer, &self.ping()).await?;
                    None
                }
            };
        }
    }

    fn encode(&mut self, forward: Forward, pieces: &mut Vec<bytes::Bytes>) -> Result<usize, Broken> {
        let Forward { shuffle, copies, answer, _window } = forward;
        let bytes = copies.body_bytes();
        if bytes > self.body_bytes_max {
            return Err(Broken::TooLong { bytes, max: self.body_bytes_max });
        }
        let head = self.head(shuffle, Some(answer), Some(_window));
        pieces.extend(copies.finish(head));
        metrics::replicated(bytes as u64);
        Ok(bytes)
    }

    /// A frame without batches.
    fn ping(&mut self) -> Vec<bytes::Bytes> {
        let nothing = ShuffleId {
            job: penstock_protocol::ids::JobId(Default::default()),
            exchange: Default::default(),
            run: 0,
        };
        PushRecorder::default().finish(self.head(nothing, None, None))
    }

    fn head(
        &mut self,
        shuffle: ShuffleId,
        answer: Option<oneshot::Sender<Answer>>,
        window: Option<OwnedSemaphorePermit>,
    ) -> PushHead {
        let request = *self.next_request;
        *self.next_request += 1;
        lock(self.unanswered).push_back(Sent { request, answer, _window: window });
        let token = self.secret.as_ref().map_or(JobToken::NONE, |secret| secret.job_token(shuffle.job));
        PushHead { request, incarnation: self.replica.incarnation, shuffle, token }
    }
}

/// Takes answers until the connection ends, or says nothing for all of `patience` although it owes one.
async fn receive<R: AsyncRead + Unpin>(
    reader: &mut R,
    unanswered: &Mutex<VecDeque<Sent>>,
    patience: Duration,
) -> Result<(), Broken> {
    loop {
        let read = frame::read_frame(reader, FRAME_BYTES_MAX);
        tokio::pin!(read);
        let mut silence = Silence::new(patience);
        let frame = loop {
            if let Ok(frame) = tokio::time::timeout(silence.beat(), &mut read).await {
                break frame?;
            }
            match lock(unanswered).is_empty() {
                true => silence.broken(),
                false => silence.goes_on(),
            }
            if silence.is_longer_than(patience) {
                return Err(Broken::Silent);
            }
        };
        let frame = frame.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        match frame.kind {
            Kind::Acks => {
                Acks::parse(frame.body)?.0.into_iter().for_each(|answer| settle(answer, unanswered))
            }
            Kind::Fault => return Err(Fault::parse(frame.body)?.into()),
            kind => return Err(Broken::Refused(format!("unexpected frame {kind:?}"))),
        }
    }
}

fn settle(answer: Answer, unanswered: &Mutex<VecDeque<Sent>>) {
    let mut waiting = lock(unanswered);
    let position = waiting.iter().position(|sent| sent.request == answer.request);
    let sent = position.and_then(|position| waiting.remove(position));
    drop(waiting);
    if let Some(asked) = sent.and_then(|sent| sent.answer) {
        // Whoever pushed may have gone.
        let _ = asked.send(answer);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
