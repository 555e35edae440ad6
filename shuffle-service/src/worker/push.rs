//! One push connection: reads frames, hands them to the store in their order, and acknowledges them.
//!
//! Frames are read only when memory has room for them: that is the back-pressure. While a connection is paused the
//! worker sends empty acknowledgements, so that the client can tell a pause from a dead worker.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use penstock_common::net::Stream;
use penstock_protocol::frame::{
    self, Acks, Answer, FrameHead, Kind, PUSH_HEAD_BYTES, Push, PushVerdict, Refusal,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader},
    sync::Notify,
};

use super::{
    connection::{Ended, SILENCE_MAX},
    memory::{Charge, NoRoom},
    store::Store,
};
use crate::metrics;

/// How often a paused connection shows that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// A client that began a frame must end it in this time: its memory is already taken.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
const READ_BUFFER_BYTES: usize = 64 << 10;
/// A larger buffer is not kept for the next frame.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// Answers that wait to be written; several leave in one frame when the reader is faster than the writer.
#[derive(Default)]
struct Answers {
    waiting: Mutex<Option<Vec<Answer>>>,
    some: Notify,
}

pub(super) async fn serve(stream: &mut Stream, store: &Store, frame_bytes_max: usize) -> Result<(), Ended> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, reader);
    let answers = Answers::default();
    let ended = tokio::select! {
        ended = receive(&mut reader, store, frame_bytes_max, &answers) => ended,
        ended = acknowledge(&mut writer, &answers) => return ended,
    };
    // What was accepted is told even if the connection ends now; best effort, the client asks again otherwise.
    if let Some(last) = answers.take() {
        let _ = tokio::time::timeout(
            Duration::from_secs(1),
            frame::write_all(&mut writer, &[Acks(last).encode()]),
        )
        .await;
    }
    ended
}

async fn receive<R: AsyncRead + Unpin>(
    reader: &mut R,
    store: &Store,
    frame_bytes_max: usize,
    answers: &Answers,
) -> Result<(), Ended> {
    let mut scratch = BytesMut::new();
    loop {
        let head = tokio::time::timeout(SILENCE_MAX, frame::read_head(reader, frame_bytes_max)).await;
        let Ok(head) = head else { return Ok(()) };
        let Some(head) = head? else { return Ok(()) };
        if head.kind != Kind::Push {
            return Err(Ended::Fault(Refusal::BadFrame, format!("expected a push, got {:?}", head.kind)));
        }
        let answer = match room(store, head, answers).await {
            Ok(charge) => take(reader, store, head, charge, &mut scratch).await?,
            Err(()) => skip(reader, head).await?,
        };
        answers.put(answer);
    }
}

/// Waits for memory; an error if there will be none.
async fn room(store: &Store, head: FrameHead, answers: &Answers) -> Result<Charge, ()> {
    let started = tokio::time::Instant::now();
    loop {
        match store.budget.take(head.body_bytes, SIGN_OF_LIFE).await {
            Ok(charge) => {
                let paused = started.elapsed();
                if paused > Duration::ZERO {
                    metrics::push_paused(paused);
                }
                return Ok(charge);
            }
            Err(NoRoom::Exhausted) => return Err(()),
            Err(NoRoom::Yet) => answers.sign_of_life(),
        }
    }
}

/// Reads a frame into `scratch` and stores its batches. Those of merged frames are copied out, so that the buffer serves
/// the next frame too: fresh memory for each frame costs more than the copy.
async fn take<R: AsyncRead + Unpin>(
    reader: &mut R,
    store: &Store,
    head: FrameHead,
    charge: Charge,
    scratch: &mut BytesMut,
) -> Result<Answer, Ended> {
    let held_bytes = scratch.capacity().max(head.body_bytes);
    let body = frame::read_body_into(reader, head.body_bytes, std::mem::take(scratch));
    let body = tokio::time::timeout(BODY_TIMEOUT, body).await;
    let body =
        body.map_err(|_| Ended::Fault(Refusal::BadFrame, "a frame did not end in time".to_owned()))??;
    // Everything is parsed before anything is stored: a frame that is not whole leaves nothing (invariant 8).
    let push = Push::parse(body.clone())?;
    let request = push.head.request;
    let verdicts = store.push(push, held_bytes, charge);
    if let Ok(buffer) = body.try_into_mut()
        && buffer.capacity() <= SCRATCH_BYTES_MAX
    {
        *scratch = buffer;
    }
    Ok(Answer { request, verdicts })
}

/// Reads a frame for which there is no room without keeping it.
async fn skip<R: AsyncRead + Unpin>(reader: &mut R, head: FrameHead) -> Result<Answer, Ended> {
    let skip = async {
        let mut push_head = [0; PUSH_HEAD_BYTES];
        if head.body_bytes < PUSH_HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        reader.read_exact(&mut push_head).await?;
        let mut rest = reader.take((head.body_bytes - PUSH_HEAD_BYTES) as u64);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        if rest.limit() > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok::<_, io::Error>((&push_head[..]).get_u64_le())
    };
    let request = tokio::time::timeout(BODY_TIMEOUT, skip).await.map_err(io::Error::from)??;
    metrics::refused_batches(Refusal::NoRoom, 1);
    // One verdict for all: the frame was not looked into.
    Ok(Answer { request, verdicts: vec![PushVerdict::Refused(Refusal::NoRoom)] })
}

async fn acknowledge<W: AsyncWrite + Unpin>(writer: &mut W, answers: &Answers) -> Result<(), Ended> {
    loop {
        let acks = Acks(answers.next().await);
        frame::write_all(writer, &[acks.encode()]).await?;
    }
}

impl Answers {
    fn put(&self, answer: Answer) {
        self.waiting().get_or_insert_default().push(answer);
        self.some.notify_one();
    }

    fn sign_of_life(&self) {
        self.waiting().get_or_insert_default();
        self.some.notify_one();
    }

    fn take(&self) -> Option<Vec<Answer>> {
        self.waiting().take()
    }

    async fn next(&self) -> Vec<Answer> {
        loop {
            let some = self.some.notified();
            if let Some(answers) = self.take() {
                return answers;
            }
            some.await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Vec<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
