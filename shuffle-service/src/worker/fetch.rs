//! One fetch connection: any number of streams, each sent only as far as its reader's credit goes.
//!
//! The worker holds one write's worth of data per connection, however slow the readers are. Streams take turns.

mod stream;

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use penstock_common::net;
use penstock_protocol::frame::{
    self, Acks, Close, Credit, Data, End, Frame, Kind, LoanTaken, Open, Refusal, SIGN_OF_LIFE,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    sync::Notify,
};

use self::stream::{Next, OutgoingStream};
use super::{
    connection::{Ended, SILENCE_MAX, Side},
    store::Store,
};
use crate::metrics;

/// Requests are small.
const REQUEST_BYTES_MAX: usize = 4 << 10;
/// Bytes of several streams that leave in one write.
const WRITE_BYTES: u64 = 512 << 10;
const STREAMS_MAX: usize = 100_000;

/// The streams of a connection; those that cannot go on wait for credit.
#[derive(Default)]
struct Streams {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    streams: VecDeque<OutgoingStream>,
    /// Streams that were closed while the writer had them in its hands.
    closed: Vec<u32>,
    /// Credits that came while the writer had the stream in its hands.
    credits: Vec<Credit>,
    in_hand: Option<u32>,
}

pub(super) async fn serve(stream: &mut net::Stream, side: Side, store: &Store) -> Result<(), Ended> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    let streams = Streams::default();
    tokio::select! {
        ended = receive(&mut reader, side, store, &streams) => ended,
        ended = send(&mut writer, store, &streams) => ended,
    }
}

async fn receive<R: AsyncRead + Unpin>(
    reader: &mut R,
    side: Side,
    store: &Store,
    streams: &Streams,
) -> Result<(), Ended> {
    loop {
        let frame = tokio::time::timeout(SILENCE_MAX, frame::read_frame(reader, REQUEST_BYTES_MAX)).await;
        let frame = match frame {
            Ok(frame) => frame?,
            // Readers may be busy with other inputs for long; without any stream the connection is of no use.
            Err(_) if !streams.are_empty() => continue,
            Err(_) => None,
        };
        let Some(Frame { kind, body }) = frame else { return Ok(()) };
        match kind {
            Kind::Open => {
                let mut open = Open::parse(body)?;
                // Nobody else can open a file of this process.
                open.borrows &= side == Side::Local;
                streams.open(OutgoingStream::new(open, store))?;
            }
            Kind::LoanTaken => streams.loan_taken(LoanTaken::parse(body)?.stream),
            Kind::Credit => streams.credit(Credit::parse(body)?),
            Kind::Close => streams.close(Close::parse(body)?.stream),
            kind => return Err(Ended::Fault(Refusal::BadFrame, format!("expected a fetch, got {kind:?}"))),
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, store: &Store, streams: &Streams) -> Result<(), Ended> {
    loop {
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while bytes < WRITE_BYTES
            && let Some(mut stream) = streams.take()
        {
            let next = patiently(writer, stream.next(store)).await?;
            let number = stream.number;
            match next {
                Next::Batches { batches, bytes: sent } => {
                    bytes += sent;
                    pieces
                        .push(Data::encode_head(number, usize::try_from(sent).expect("bounded by a frame")));
                    pieces.extend(batches);
                    streams.put_back(stream);
                }
                Next::Loan(loan) => {
                    metrics::lent(loan.bytes);
                    pieces.push(loan.encode());
                    streams.put_back(stream);
                }
                Next::End => pieces.push(ended(streams, number, None)),
                Next::Refused(refusal, message) => {
                    metrics::refused_stream(refusal);
                    pieces.push(ended(streams, number, Some((refusal, message))));
                }
            }
        }
        if pieces.is_empty() {
            streams.ready().await;
        } else {
            frame::write_all(writer, &pieces).await?;
            metrics::fetched(bytes);
        }
    }
}

/// Shows the reader that the worker is alive while a read takes long.
async fn patiently<W: AsyncWrite + Unpin, T>(writer: &mut W, read: impl Future<Output = T>) -> io::Result<T> {
    tokio::pin!(read);
    loop {
        match tokio::time::timeout(SIGN_OF_LIFE, &mut read).await {
            Ok(next) => return Ok(next),
            Err(_) => frame::write_all(writer, &[Acks(Vec::new()).encode()]).await?,
        }
    }
}

fn ended(streams: &Streams, stream: u32, refused: Option<(Refusal, String)>) -> Bytes {
    streams.forget(stream);
    End { stream, refused }.encode()
}

impl Streams {
    fn open(&self, stream: OutgoingStream) -> Result<(), Ended> {
        let mut state = self.state();
        if state.streams.len() >= STREAMS_MAX {
            return Err(Ended::Fault(Refusal::NoRoom, format!("more than {STREAMS_MAX} streams")));
        }
        state.streams.push_back(stream);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    fn credit(&self, credit: Credit) {
        let mut state = self.state();
        if state.in_hand == Some(credit.stream) {
            state.credits.push(credit);
        } else if let Some(stream) = state.streams.iter_mut().find(|stream| stream.number == credit.stream) {
            stream.add_credit(credit.bytes);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The stream is not in the writer's hands while a loan of it is outside.
    fn loan_taken(&self, number: u32) {
        let mut state = self.state();
        if let Some(stream) = state.streams.iter_mut().find(|stream| stream.number == number) {
            stream.loan_taken();
        }
        drop(state);
        self.changed.notify_one();
    }

    fn close(&self, number: u32) {
        let mut state = self.state();
        if state.in_hand == Some(number) {
            state.closed.push(number);
        } else {
            state.streams.retain(|stream| stream.number != number);
        }
    }

    /// The next stream that may send.
    fn take(&self) -> Option<OutgoingStream> {
        let mut state = self.state();
        let position = state.streams.iter().position(OutgoingStream::may_send)?;
        let stream = state.streams.remove(position)?;
        state.in_hand = Some(stream.number);
        Some(stream)
    }

    /// Puts a stream behind the others.
    fn put_back(&self, mut stream: OutgoingStream) {
        let mut state = self.state();
        state.in_hand = None;
        let credits = std::mem::take(&mut state.credits);
        credits.iter().for_each(|credit| stream.add_credit(credit.bytes));
        if std::mem::take(&mut state.closed).is_empty() {
            state.streams.push_back(stream);
        }
    }

    fn forget(&self, number: u32) {
        let mut state = self.state();
        debug_assert_eq!(state.in_hand, Some(number));
        state.in_hand = None;
        state.credits.clear();
        state.closed.clear();
    }

    fn are_empty(&self) -> bool {
        let state = self.state();
        state.streams.is_empty() && state.in_hand.is_none()
    }

    async fn ready(&self) {
        self.changed.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
