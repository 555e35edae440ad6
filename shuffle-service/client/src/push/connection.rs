//! One worker's push connection: connects, sends, matches answers, and sends again what has no answer.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_common::{
    lifecycle::CancellationToken,
    net::{Network, Stream},
    retry::Backoff,
    silence::Silence,
};
use penstock_protocol::{
    frame::{self, Acks, Answer, FRAME_BYTES_MAX, Fault, Kind, Purpose, PushVerdict, Refusal, Welcome},
    shuffle::WorkerAddress,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    sync::mpsc,
};

use super::{Request, progress::Why, sent::Sent};
use crate::{
    connect::{self, Broken},
    metrics,
    options::ClientOptions,
};

/// Bytes of queued frames that go out in one write.
const WRITE_BYTES: usize = 1 << 20;
const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(2);
/// Silent periods of [`ClientOptions::answer_timeout_ms`] after which an unused connection is closed.
const IDLE_PERIODS: u32 = 3;

pub(super) struct Connection {
    network: Arc<dyn Network>,
    worker: Arc<WorkerAddress>,
    options: ClientOptions,
    /// Tries in a row before everything is given back.
    tries: u32,
    queue: mpsc::Receiver<Request>,
    unanswered: Mutex<VecDeque<Sent>>,
    next_request: u64,
}

enum Ended {
    Idle,
    /// All writers are gone.
    Closed,
    Broken(Broken),
}

impl Connection {
    pub fn new(
        network: Arc<dyn Network>,
        worker: Arc<WorkerAddress>,
        options: ClientOptions,
        tries: u32,
        queue: mpsc::Receiver<Request>,
    ) -> Self {
        Self { network, worker, options, tries, queue, unanswered: Mutex::default(), next_request: 0 }
    }

    /// Runs until the process stops or the connection was not used for a while.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.serve() => {}
        }
        Ok(())
    }

    async fn serve(&mut self) {
        let mut waits = self.waits();
        loop {
            if self.unanswered().is_empty() {
                waits = self.waits();
                match self.queue.recv().await {
                    Some(request) => self.enqueue(request),
                    None => return,
                }
                continue;
            }
            let oldest = self.oldest();
            let broken = match self.connect().await {
                Ok((stream, welcome)) => match self.exchange(stream, welcome).await {
                    Ended::Closed => return,
                    Ended::Idle => {
                        self.queue.close();
                        continue;
                    }
                    Ended::Broken(broken) => broken,
                },
                Err(broken) => broken,
            };
            if let Some(silence) = broken.silence {
                let patient = self.options.answer_timeout();
                let is_over = |patience: Duration| patience <= silence && patience < patient;
                if self.give_up(&broken, is_over) {
                    continue;
                }
            }
            if self.oldest() != oldest {
                waits = self.waits();
            }
            let wait = if broken.is_final() { None } else { waits.next() };
            match wait {
                Some(wait) => {
                    tracing::debug!(worker = %self.worker.worker, reason = %broken.reason, "push connection broke, trying again");
                    tokio::time::sleep(wait).await;
                }
                None => {
                    self.give_up(&broken, |_| true);
                }
            }
        }
    }

    fn waits(&self) -> Backoff {
        // Seeded by the worker's life, so that a simulation sees the same waits again.
        Backoff::new(BACKOFF_BASE, BACKOFF_CAP).with_seed(self.worker.incarnation.0).tries(self.tries)
    }

    /// As patient as the one with the least patience of those who wait, be it since the connecting began.
    async fn connect(&mut self) -> Result<(Stream, Welcome), Broken> {
        let connecting = connect(Arc::clone(&self.network), Arc::clone(&self.worker), &self.options);
        let mut silence = Silence::new(self.options.silence(0));
        tokio::pin!(connecting);
        loop {
            if let Ok(connected) = tokio::time::timeout(silence.beat(), &mut connecting).await {
                return connected;
            }
            silence.goes_on();
            self.take_queued();
            if least_patience(&self.unanswered).is_some_and(|patience| silence.is_longer_than(patience)) {
                return Err(Broken::silent(silence.lasted()));
            }
        }
    }

    async fn exchange(&mut self, stream: Stream, welcome: Welcome) -> Ended {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut reader = BufReader::new(reader);
        let Self { worker, options, queue, unanswered, next_request, .. } = self;
        let body_bytes_max = (welcome.frame_bytes_max as usize).min(FRAME_BYTES_MAX);
        tokio::select! {
            ended = send(&mut writer, queue, unanswered, next_request, worker, body_bytes_max) => ended,
            ended = receive(&mut reader, unanswered, options) => ended,
        }
    }

    fn enqueue(&mut self, request: Request) {
        if let Some(sent) = next_sent(request, &mut self.next_request, &self.worker) {
            self.unanswered().push_back(sent);
        }
    }

    fn oldest(&self) -> Option<u64> {
        self.unanswered().front().map(|sent| sent.request)
    }

    fn take_queued(&mut self) {
        while let Ok(request) = self.queue.try_recv() {
            self.enqueue(request);
        }
    }

    /// Gives back what waits, sent or queued, if its writer has no more patience; whether there was any. Later requests start
    /// over.
    fn give_up(&mut self, broken: &Broken, is_over: impl Fn(Duration) -> bool) -> bool {
        self.take_queued();
        let waiting = std::mem::take(&mut *self.unanswered());
        let (over, kept): (VecDeque<_>, VecDeque<_>) =
            waiting.into_iter().partition(|sent| is_over(sent.patience));
        *self.unanswered() = kept;
        if over.is_empty() {
            return false;
        }
        let worker = &self.worker.worker;
        tracing::warn!(%worker, reason = %broken.reason, "giving up pushes to worker");
        let (refusal, silent) = (broken.refusal, broken.silence.is_some());
        let why = Why::Unreachable { refusal, silent, reason: broken.reason.clone() };
        over.into_iter().for_each(|sent| sent.returned(&why));
        true
    }

    fn unanswered(&self) -> MutexGuard<'_, VecDeque<Sent>> {
        lock(&self.unanswered)
    }
}

fn connect(
    network: Arc<dyn Network>,
    worker: Arc<WorkerAddress>,
    options: &ClientOptions,
) -> impl Future<Output = Result<(Stream, Welcome), Broken>> + use<> {
    let deadline = options.answer_timeout();
    async move {
        let mut stream = connect::connect(&network, &worker, Purpose::Push, deadline).await?.stream;
        let welcome = connect::welcome(&mut stream, deadline).await?;
        Ok((stream, welcome))
    }
}

/// A request that may be sent. One of a writer to which something came back is held back with it.
fn next_sent(request: Request, next_request: &mut u64, worker: &WorkerAddress) -> Option<Sent> {
    if request.must_wait() {
        request.returned(&Why::HeldBack);
        return None;
    }
    let number = *next_request;
    *next_request += 1;
    Some(Sent::new(request, number, worker.incarnation))
}

/// Sends again what has no answer, then whatever is queued.
async fn send<W: AsyncWrite + Unpin>(
    writer: &mut W,
    queue: &mut mpsc::Receiver<Request>,
    unanswered: &Mutex<VecDeque<Sent>>,
    next_request: &mut u64,
    worker: &WorkerAddress,
    body_bytes_max: usize,
) -> Ended {
    let mut pieces = Vec::new();
    refuse_too_long(unanswered, body_bytes_max);
    {
        let mut unanswered = lock(unanswered);
        metrics::resent(unanswered.len().saturating_sub(1));
        for sent in unanswered.iter_mut() {
            sent.goes_out();
            pieces.extend(sent.pieces.iter().cloned());
        }
    }
    loop {
        if let Err(error) = frame::write_all(writer, &pieces).await {
            return Ended::Broken(error.into());
        }
        pieces.clear();
        let Some(request) = queue.recv().await else { return drained(unanswered).await };
        let mut next = Some(request);
        let mut bytes = 0;
        while let Some(request) = next {
            if let Some(mut sent) = next_sent(request, next_request, worker) {
                if sent.body_bytes <= body_bytes_max {
                    bytes += sent.body_bytes;
                    sent.goes_out();
                    pieces.extend(sent.pieces.iter().cloned());
                    lock(unanswered).push_back(sent);
                } else {
                    too_long(sent);
                }
            }
            next = if bytes < WRITE_BYTES { queue.try_recv().ok() } else { None };
        }
    }
}

/// No more requests will come: the answers that are still missing decide when the connection ends.
async fn drained(unanswered: &Mutex<VecDeque<Sent>>) -> Ended {
    if lock(unanswered).is_empty() { Ended::Closed } else { std::future::pending().await }
}

fn refuse_too_long(unanswered: &Mutex<VecDeque<Sent>>, body_bytes_max: usize) {
    let all = std::mem::take(&mut *lock(unanswered));
    let mut kept = VecDeque::with_capacity(all.len());
    for sent in all {
        match sent {
            sent if sent.body_bytes > body_bytes_max => too_long(sent),
            sent if sent.must_wait() => sent.returned(&Why::HeldBack),
            sent => kept.push_back(sent),
        }
    }
    *lock(unanswered) = kept;
}

fn too_long(sent: Sent) {
    let verdicts = vec![PushVerdict::Refused(Refusal::NoRoom)];
    let request = sent.request;
    sent.answered(&Answer { request, verdicts });
}

/// Takes answers until the connection ends, is of no use any more, or says nothing although it owes an answer.
async fn receive<R: AsyncRead + Unpin>(
    reader: &mut R,
    unanswered: &Mutex<VecDeque<Sent>>,
    options: &ClientOptions,
) -> Ended {
    let idle_max = options.answer_timeout() * IDLE_PERIODS;
    loop {
        let frame = {
            let read = frame::read_frame(reader, FRAME_BYTES_MAX);
            tokio::pin!(read);
            let (mut silence, mut idle) =
                (Silence::new(options.silence(0)), Silence::new(options.silence(0)));
            loop {
                if let Ok(frame) = tokio::time::timeout(silence.beat(), &mut read).await {
                    break frame;
                }
                match least_patience(unanswered) {
                    Some(patience) => {
                        idle.broken();
                        silence.goes_on();
                        if silence.is_longer_than(patience) {
                            return Ended::Broken(Broken::silent(silence.lasted()));
                        }
                    }
                    None => {
                        silence.broken();
                        idle.goes_on();
                        if idle.is_longer_than(idle_max) {
                            return Ended::Idle;
                        }
                    }
                }
            }
        };
        let handled = match frame {
            Ok(Some(frame)) => match frame.kind {
                Kind::Acks => {
                    Acks::parse(frame.body).map(|acks| settle(acks, unanswered)).map_err(Broken::from)
                }
                Kind::Fault => Err(Fault::parse(frame.body).map_or_else(Broken::from, Broken::from)),
                kind => Err(Broken::because(format_args!("unexpected frame {kind:?}"))),
            },
            Ok(None) => Err(Broken::because("the worker closed the connection")),
            Err(error) => Err(error.into()),
        };
        if let Err(broken) = handled {
            return Ended::Broken(broken);
        }
    }
}

fn least_patience(unanswered: &Mutex<VecDeque<Sent>>) -> Option<Duration> {
    lock(unanswered).iter().map(|sent| sent.patience).min()
}

fn settle(acks: Acks, unanswered: &Mutex<VecDeque<Sent>>) {
    for answer in acks.0 {
        let mut waiting = lock(unanswered);
        let position = waiting.iter().position(|sent| sent.request == answer.request);
        let sent = position.and_then(|position| waiting.remove(position));
        drop(waiting);
        if let Some(sent) = sent {
            sent.answered(&answer);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
