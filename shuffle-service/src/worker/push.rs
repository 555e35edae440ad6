//! One push connection: reads frames, hands them to the store in their order, and acknowledges them when all of their
//! copies are stored. Frames follow each other without waiting for that.
//!
//! Frames are read only when memory has room for them: that is the back-pressure. While a frame takes long, for whatever
//! reason, the worker sends empty acknowledgements, so that the client can tell that from a worker that hangs.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::FuturesUnordered};
use penstock_common::net::Stream;
use penstock_protocol::{
    frame::{
        self, Acks, Answer, BATCH_HEADER_BYTES, BatchHeader, FrameError, FrameHead, Kind, PUSH_HEAD_BYTES,
        Push, PushHead, PushVerdict, Refusal, SIGN_OF_LIFE,
    },
    ids::{Epoch, PartitionIndex},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader},
    sync::{Notify, mpsc},
};

use super::{
    connection::{Ended, SILENCE_MAX},
    memory::{Charge, NoRoom, Share},
    store::{Forwarded, Store},
};
use crate::metrics;

/// Between two looks whether there will be memory at all.
const MEMORY_PATIENCE: Duration = Duration::from_secs(5);
/// A client that began a frame must end it in this time: its memory is already taken.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
const READ_BUFFER_BYTES: usize = 64 << 10;
/// A larger buffer is not kept for the next frame.
const SCRATCH_BYTES_MAX: usize = 1 << 20;
/// Frames whose second copies have just been sent; how many may be on their way is the links' business.
const FORWARDED_MAX: usize = 64;

/// Answers that wait to be written; several leave in one frame when the reader is faster than the writer.
#[derive(Default)]
struct Answers {
    waiting: Mutex<Option<Vec<Answer>>>,
    some: Notify,
}

/// A frame that waits for its second copies.
struct Waiting {
    request: u64,
    forwarded: Forwarded,
}

pub(super) async fn serve(
    stream: &mut Stream,
    store: &Store,
    share: Share,
    frame_bytes_max: usize,
) -> Result<(), Ended> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, reader);
    let answers = Answers::default();
    let (forwarded, waiting) = mpsc::channel(FORWARDED_MAX);
    let receiver = Receiver { store, share, frame_bytes_max, answers: &answers, forwarded };
    let ended = tokio::select! {
        ended = receiver.run(&mut reader) => ended,
        ended = acknowledge(&mut writer, &answers) => return ended,
        () = decide(waiting, &answers) => Ok(()),
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

struct Receiver<'a> {
    store: &'a Store,
    share: Share,
    frame_bytes_max: usize,
    answers: &'a Answers,
    forwarded: mpsc::Sender<Waiting>,
}

impl Receiver<'_> {
    async fn run<R: AsyncRead + Unpin>(&self, reader: &mut R) -> Result<(), Ended> {
        let mut scratch = BytesMut::new();
        loop {
            let head =
                tokio::time::timeout(SILENCE_MAX, frame::read_head(reader, self.frame_bytes_max)).await;
            let Ok(head) = head else { return Ok(()) };
            let Some(head) = head? else { return Ok(()) };
            if head.kind != Kind::Push {
                return Err(Ended::Fault(Refusal::BadFrame, format!("expected a push, got {:?}", head.kind)));
            }
            match self.room(head).await {
                Ok(charge) => self.take(reader, head, charge, &mut scratch).await?,
                Err(()) => self.refuse(reader, head).await?,
            }
        }
    }

    /// Waits for memory; an error if there will be none.
    async fn room(&self, head: FrameHead) -> Result<Charge, ()> {
        let started = tokio::time::Instant::now();
        loop {
            let room = self.store.budget.take(self.share, head.body_bytes, MEMORY_PATIENCE);
            match self.patiently(room).await {
                Ok(charge) => {
                    let paused = started.elapsed();
                    if paused > Duration::ZERO {
                        metrics::push_paused(paused);
                    }
                    return Ok(charge);
                }
                Err(NoRoom::Exhausted) => return Err(()),
                Err(NoRoom::Yet) => {}
            }
        }
    }

    /// Reads a frame into `scratch` and stores its batches. Those of merged frames are copied out, so that the buffer
    /// serves the next frame too: fresh memory for each frame costs more than the copy.
    async fn take<R: AsyncRead + Unpin>(
        &self,
        reader: &mut R,
        head: FrameHead,
        charge: Charge,
        scratch: &mut BytesMut,
    ) -> Result<(), Ended> {
        let held_bytes = scratch.capacity().max(head.body_bytes);
        let body = self.patiently(body(reader, head, std::mem::take(scratch))).await?;
        // Everything is parsed before anything is stored: a frame that is not whole leaves nothing (invariant 8).
        let push = Push::parse(body.clone())?;
        let (request, batches) = (push.head.request, push.entries.len());
        match self.store.push(push, held_bytes, charge).decided() {
            Ok(verdicts) => {
                self.answers.put(Answer { request, verdicts });
                if let Ok(buffer) = body.try_into_mut()
                    && buffer.capacity() <= SCRATCH_BYTES_MAX
                {
                    *scratch = buffer;
                }
            }
            Err(pushed) => {
                drop(body);
                let forwarded = self.patiently(pushed.forward(batches)).await;
                // The other end lives as long as this one.
                let _ = self.forwarded.send(Waiting { request, forwarded }).await;
            }
        }
        Ok(())
    }

    /// Shows the client that the worker is alive while it waits for memory, bytes or links.
    async fn patiently<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            match tokio::time::timeout(SIGN_OF_LIFE, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.answers.sign_of_life(),
            }
        }
    }

    /// Reads a frame for which there is no room and keeps nothing of it. Its locations take nothing more, so that no later
    /// batch overtakes it.
    async fn refuse<R: AsyncRead + Unpin>(&self, reader: &mut R, head: FrameHead) -> Result<(), Ended> {
        let skip = tokio::time::timeout(BODY_TIMEOUT, self.patiently(self.skip(reader, head))).await;
        let (head, batches) = skip.map_err(|_| too_slow())??;
        metrics::refused_batches(Refusal::NoRoom, batches.into());
        let verdicts = vec![PushVerdict::Refused(Refusal::NoRoom); batches as usize];
        self.answers.put(Answer { request: head.request, verdicts });
        Ok(())
    }

    async fn skip<R: AsyncRead + Unpin>(
        &self,
        reader: &mut R,
        frame: FrameHead,
    ) -> Result<(PushHead, u32), Ended> {
        let mut body = reader.take(frame.body_bytes as u64);
        let mut head = [0; PUSH_HEAD_BYTES];
        body.read_exact(&mut head).await?;
        let (head, batches) = PushHead::parse(Bytes::copy_from_slice(&head))?;
        for _ in 0..batches {
            let key = (PartitionIndex(body.read_u32_le().await?), Epoch(body.read_u32_le().await?));
            let mut header = [0; BATCH_HEADER_BYTES];
            body.read_exact(&mut header).await?;
            let length = BatchHeader::parse(&header)?.length.into();
            if tokio::io::copy(&mut (&mut body).take(length), &mut tokio::io::sink()).await? < length {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.store.refuse(head.shuffle, key, Refusal::NoRoom);
        }
        match body.limit() {
            0 => Ok((head, batches)),
            trailing => Err(FrameError::Trailing { trailing: trailing as usize }.into()),
        }
    }
}

async fn body<R: AsyncRead + Unpin>(
    reader: &mut R,
    head: FrameHead,
    scratch: BytesMut,
) -> Result<Bytes, Ended> {
    let body = frame::read_body_into(reader, head.body_bytes, scratch);
    let body = tokio::time::timeout(BODY_TIMEOUT, body).await;
    Ok(body.map_err(|_| too_slow())??)
}

fn too_slow() -> Ended {
    Ended::Fault(Refusal::BadFrame, "a frame did not end in time".to_owned())
}

/// Answers frames when their second copies are decided, in whatever order that happens.
async fn decide(mut forwarded: mpsc::Receiver<Waiting>, answers: &Answers) {
    let mut waiting = FuturesUnordered::new();
    let mut beat = tokio::time::interval(SIGN_OF_LIFE);
    loop {
        tokio::select! {
            sent = forwarded.recv() => match sent {
                Some(Waiting { request, forwarded }) => {
                    if waiting.is_empty() {
                        beat.reset();
                    }
                    waiting.push(async move { Answer { request, verdicts: forwarded.decide().await } });
                }
                None => return,
            },
            Some(answer) = waiting.next() => answers.put(answer),
            _ = beat.tick(), if !waiting.is_empty() => answers.sign_of_life(),
        }
    }
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
