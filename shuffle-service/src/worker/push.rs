//! One push connection: reads frames, hands them to the store in their order, and acknowledges them when all of their
//! copies are stored. Frames follow each other without waiting for that.
//!
//! Frames are read only when memory has room for them: that is the back-pressure. While a frame takes long, for whatever
//! reason, the worker sends empty acknowledgements, so that the client can tell that from a worker that hangs.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use penstock_common::net::Stream;
use penstock_protocol::frame::{
    self, Acks, Answer, FrameHead, FrameReader, Kind, PushVerdict, ReadFrameError, Refusal, SIGN_OF_LIFE,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
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
    let mut reader = FrameReader::new(reader);
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
    async fn run<R: AsyncRead + Unpin>(&self, reader: &mut FrameReader<R>) -> Result<(), Ended> {
        loop {
            let head = tokio::time::timeout(SILENCE_MAX, reader.head(self.frame_bytes_max)).await;
            let Ok(head) = head else { return Ok(()) };
            let Some(head) = head? else { return Ok(()) };
            if head.kind != Kind::Push {
                return Err(Ended::Fault(Refusal::BadFrame, format!("expected a push, got {:?}", head.kind)));
            }
            match self.room(head).await {
                Ok(charge) => self.take(reader, head, charge).await?,
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

    /// Reads a frame and stores its batches.
    async fn take<R: AsyncRead + Unpin>(
        &self,
        reader: &mut FrameReader<R>,
        head: FrameHead,
        charge: Charge,
    ) -> Result<(), Ended> {
        // Everything is read before anything is stored: a frame that is not whole leaves nothing (invariant 8).
        let read = in_time(async { reader.push(head.body_bytes).await?.read().await });
        let push = self.patiently(read).await?;
        let request = push.head.request;
        match self.store.push(push, charge).decided() {
            Ok(verdicts) => self.answers.put(Answer { request, verdicts }),
            Err(pushed) => {
                let forwarded = self.patiently(pushed.forward()).await;
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
    async fn refuse<R: AsyncRead + Unpin>(
        &self,
        reader: &mut FrameReader<R>,
        frame: FrameHead,
    ) -> Result<(), Ended> {
        let skip = async {
            let body = reader.push(frame.body_bytes).await?;
            body.skip(|head, partition, epoch| {
                self.store.refuse(head.shuffle, (partition, epoch), Refusal::NoRoom);
            })
            .await
        };
        let (head, batches) = self.patiently(in_time(skip)).await?;
        metrics::refused_batches(Refusal::NoRoom, batches.into());
        let verdicts = vec![PushVerdict::Refused(Refusal::NoRoom); batches as usize];
        self.answers.put(Answer { request: head.request, verdicts });
        Ok(())
    }
}

/// Waits for the end of a frame.
async fn in_time<T>(body: impl Future<Output = Result<T, ReadFrameError>>) -> Result<T, Ended> {
    let too_slow = || Ended::Fault(Refusal::BadFrame, "a frame did not end in time".to_owned());
    let body = tokio::time::timeout(BODY_TIMEOUT, body).await;
    Ok(body.map_err(|_| too_slow())??)
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
