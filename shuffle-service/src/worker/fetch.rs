//! One fetch connection: any number of streams, each sent only as far as its reader's credit goes.
//!
//! Streams take turns, and one whose read takes long stands aside. The worker holds one write's worth of data per connection,
//! and as much again a few times over while many reads take long, however slow the readers are.

mod reads;
mod stream;
mod streams;

use bytes::Bytes;
use penstock_common::net;
use penstock_protocol::frame::{self, Acks, Close, Credit, Data, End, Frame, Kind, LoanTaken, Open, Refusal};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};

use self::{
    reads::Reads,
    stream::{Next, OutgoingStream},
    streams::Streams,
};
use super::{
    connection::{Ended, SILENCE_MAX, Side},
    store::Store,
};
use crate::metrics;

/// Requests are small.
const REQUEST_BYTES_MAX: usize = 4 << 10;
/// Bytes of several streams that leave in one write.
const WRITE_BYTES: u64 = 512 << 10;

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
    let mut reads = Reads::new(store, streams);
    loop {
        let mut frames = Frames::default();
        let mut next = reads.next().await;
        if next.is_none() {
            frames.pieces.push(Acks(Vec::new()).encode());
        }
        while let Some((stream, sent)) = next {
            frames.add(streams, stream, sent);
            next = if frames.bytes < WRITE_BYTES { reads.next_soon().await } else { None };
        }
        frame::write_all(writer, &frames.pieces).await?;
        metrics::fetched(frames.bytes);
    }
}

/// What leaves in one write.
#[derive(Default)]
struct Frames {
    pieces: Vec<Bytes>,
    /// Of data.
    bytes: u64,
}

impl Frames {
    fn add(&mut self, streams: &Streams, stream: OutgoingStream, next: Next) {
        let number = stream.number;
        match next {
            Next::Batches { batches, bytes } => {
                self.bytes += bytes;
                let length = usize::try_from(bytes).expect("bounded by a frame");
                self.pieces.push(Data::encode_head(number, length));
                self.pieces.extend(batches);
                streams.put_back(stream);
            }
            Next::Loan(loan) => {
                metrics::lent(loan.bytes);
                self.pieces.push(loan.encode());
                streams.put_back(stream);
            }
            Next::End => self.end(streams, number, None),
            Next::Refused(refusal, message) => {
                metrics::refused_stream(refusal);
                self.end(streams, number, Some((refusal, message)));
            }
        }
    }

    fn end(&mut self, streams: &Streams, stream: u32, refused: Option<(Refusal, String)>) {
        streams.forget(stream);
        self.pieces.push(End { stream, refused }.encode());
    }
}
