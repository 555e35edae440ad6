//! One worker's fetch connection: many streams, each with its inbox.
//!
//! Streams act on shared state and never wait for the connection, so that one may be dropped anywhere.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use penstock_common::{
    lifecycle::CancellationToken,
    net::{Network, ProcessId},
};
use penstock_protocol::{
    frame::{
        self, Close, Credit, Data, End, FRAME_BYTES_MAX, Fault, Frame, FrameReader, Kind, Loan, LoanTaken,
        Open, Purpose,
    },
    shuffle::WorkerAddress,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};

use super::{
    heard::{Heard, Listening},
    inbox::{Event, Inbox},
};
use crate::{
    connect::{self, Broken},
    metrics,
};

/// How long a connection without streams stays open.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Connection {
    pub worker: Arc<WorkerAddress>,
    state: Mutex<State>,
    pub heard: Heard,
    /// There is something to send, or the connection is to be cut.
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Frames to send: at most an open, a close and a few credits per stream.
    outbox: Vec<Bytes>,
    streams: BTreeMap<u32, Arc<Inbox>>,
    next_stream: u32,
    /// A loan failed: everything is to be sent.
    borrows_nothing: bool,
    cut: bool,
    dead: bool,
}

impl Connection {
    pub fn new(worker: Arc<WorkerAddress>) -> Self {
        Self { worker, state: Mutex::default(), heard: Heard::default(), wake: Notify::new() }
    }

    pub fn is_alive(&self) -> bool {
        !self.state().dead
    }

    /// Opens a stream and returns its number and inbox; `open` gets the number.
    pub fn open(&self, mut open: Open) -> Option<(u32, Arc<Inbox>)> {
        let mut state = self.state();
        if state.dead {
            return None;
        }
        let stream = state.next_stream;
        state.next_stream = state.next_stream.wrapping_add(1);
        open.stream = stream;
        open.borrows &= !state.borrows_nothing;
        let inbox = Arc::new(Inbox::default());
        state.streams.insert(stream, Arc::clone(&inbox));
        state.outbox.push(open.encode());
        drop(state);
        self.wake.notify_one();
        Some((stream, inbox))
    }

    pub fn add_credit(&self, stream: u32, bytes: u32) {
        let mut state = self.state();
        if state.streams.contains_key(&stream) {
            state.outbox.push(Credit { stream, bytes }.encode());
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Tells the worker that the file of a loan is open here too.
    pub fn loan_taken(&self, stream: u32) {
        let mut state = self.state();
        if state.streams.contains_key(&stream) {
            state.outbox.push(LoanTaken { stream }.encode());
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Has everything sent that streams ask for from now on.
    pub fn borrow_nothing(&self) {
        self.state().borrows_nothing = true;
    }

    /// Forgets a stream; the worker is told if it may still send.
    pub fn close(&self, stream: u32) {
        let mut state = self.state();
        if state.streams.remove(&stream).is_some() {
            state.outbox.push(Close { stream }.encode());
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Gives the connection up for all its streams: the worker has been silent for too long.
    pub fn cut(&self) {
        self.state().cut = true;
        self.wake.notify_one();
    }

    /// Runs until the connection ends; every stream that is still open then learns why.
    pub async fn run(
        self: Arc<Self>,
        network: Arc<dyn Network>,
        connect_deadline: Duration,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Broken::because("this process is stopping"),
            Err(broken) = self.exchange(&network, connect_deadline) => broken,
        };
        let mut state = self.state();
        state.dead = true;
        state.outbox.clear();
        for inbox in std::mem::take(&mut state.streams).into_values() {
            inbox.put(Event::Broken(ended.clone()));
        }
        Ok(())
    }

    async fn exchange(
        &self,
        network: &Arc<dyn Network>,
        connect_deadline: Duration,
    ) -> Result<Infallible, Broken> {
        let connected = connect::connect(network, &self.worker, Purpose::Fetch, connect_deadline).await?;
        let (reader, mut writer) = tokio::io::split(connected.stream);
        let mut reader = FrameReader::new(Listening { reader, heard: &self.heard });
        tokio::select! {
            ended = self.send(&mut writer) => ended,
            ended = self.receive(&mut reader, connected.process) => ended,
        }
    }

    async fn send<W: AsyncWrite + Unpin>(&self, writer: &mut W) -> Result<Infallible, Broken> {
        loop {
            let frames = {
                let mut state = self.state();
                if state.cut {
                    return Err(Broken::because("no answer in time"));
                }
                std::mem::take(&mut state.outbox)
            };
            if frames.is_empty() {
                let woken = tokio::time::timeout(IDLE, self.wake.notified()).await;
                if woken.is_err() && self.state().streams.is_empty() {
                    return Err(Broken::because("idle"));
                }
            } else {
                frame::write_all(writer, &frames).await?;
            }
        }
    }

    async fn receive<R: AsyncRead + Unpin>(
        &self,
        reader: &mut FrameReader<R>,
        process: Option<ProcessId>,
    ) -> Result<Infallible, Broken> {
        loop {
            match reader.frame(FRAME_BYTES_MAX).await? {
                Some(frame) => self.deliver(frame, process)?,
                None => return Err(Broken::because("the worker closed the connection")),
            }
        }
    }

    fn deliver(&self, frame: Frame, process: Option<ProcessId>) -> Result<(), Broken> {
        match frame.kind {
            // The worker is alive.
            Kind::Welcome | Kind::Acks => {}
            Kind::Fault => return Err(Fault::parse(frame.body)?.into()),
            Kind::Data => {
                let Data { stream, batches } = Data::parse(frame.body)?;
                metrics::fetched(batches.len());
                if let Some(inbox) = self.state().streams.get(&stream) {
                    inbox.put(Event::Data(batches));
                }
            }
            Kind::Loan => {
                let loan = Loan::parse(frame.body)?;
                if let Some(inbox) = self.state().streams.get(&loan.stream) {
                    inbox.put(Event::Loan(loan, process));
                }
            }
            Kind::End => {
                let End { stream, refused } = End::parse(frame.body)?;
                if let Some(inbox) = self.state().streams.remove(&stream) {
                    inbox.put(
                        refused.map_or(Event::End, |(refusal, message)| Event::Refused(refusal, message)),
                    );
                }
            }
            kind => return Err(Broken::because(format_args!("unexpected frame {kind:?}"))),
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
