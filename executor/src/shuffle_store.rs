//! The engine's shuffle over the client of the shuffle service.
//!
//! Operators call from threads for query work; connections, timers and the tasks that serve them belong to the runtime
//! for I/O, so every call is polled in its context ([`OnIo`]). Errors keep what decides: lost, or no room. What the client
//! could not reach after all of its tries and copies is lost to this stage: a further attempt would wait as long for the
//! same workers, and a new run gets others.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use penstock_engine::exchange::store::{ShuffleError, ShuffleStore, ShuffleWriter};
use penstock_protocol::{
    effort::{FetchEffort, PushEffort},
    ids::{AttemptId, JobId, PartitionIndex, ShuffleId},
    shuffle::{MapOutput, PartitionSource, ShuffleTarget, Winner},
    token::JobToken,
};
use penstock_shuffle_client::{FetchError, PushError, ShuffleClient, Writer};
use tokio::runtime::Handle;

/// The remote shuffle service.
#[derive(Debug, Clone)]
pub struct RemoteShuffle {
    client: ShuffleClient,
    io: Handle,
}

impl RemoteShuffle {
    /// `io` is the runtime that connections live on.
    pub fn new(client: ShuffleClient, io: Handle) -> Self {
        Self { client, io }
    }
}

#[async_trait]
impl ShuffleStore for RemoteShuffle {
    async fn writer(
        &self,
        attempt: AttemptId,
        target: Arc<ShuffleTarget>,
    ) -> Result<Box<dyn ShuffleWriter>, ShuffleError> {
        let writer = on_io(&self.io, self.client.writer(attempt, target)).await.map_err(push_error)?;
        Ok(Box::new(RemoteWriter { writer, io: self.io.clone() }))
    }

    fn read(
        &self,
        shuffle: ShuffleId,
        winners: Arc<[Winner]>,
        source: PartitionSource,
    ) -> BoxStream<'static, Result<Bytes, ShuffleError>> {
        self.read_counted(shuffle, winners, source, Arc::default())
    }

    fn read_counted(
        &self,
        shuffle: ShuffleId,
        winners: Arc<[Winner]>,
        source: PartitionSource,
        effort: Arc<FetchEffort>,
    ) -> BoxStream<'static, Result<Bytes, ShuffleError>> {
        let (client, io) = (self.client.clone(), self.io.clone());
        // Opened at the first poll, in the context of the I/O runtime like every later one.
        let opened =
            stream::once(async move { client.read_counted(shuffle, winners, source, effort) }).flatten();
        on_io(&io, opened).map(|payload| payload.map_err(fetch_error)).boxed()
    }

    fn grant(&self, job: JobId, token: JobToken) {
        self.client.grant(job, token);
    }
}

struct RemoteWriter {
    writer: Writer,
    io: Handle,
}

#[async_trait]
impl ShuffleWriter for RemoteWriter {
    async fn push(
        &mut self,
        partition: PartitionIndex,
        rows: u32,
        payload: Bytes,
    ) -> Result<(), ShuffleError> {
        on_io(&self.io, self.writer.push(partition, rows, payload)).await.map_err(push_error)
    }

    fn effort(&self) -> Arc<PushEffort> {
        self.writer.effort()
    }

    async fn finish(self: Box<Self>) -> Result<MapOutput, ShuffleError> {
        let Self { writer, io } = *self;
        on_io(&io, writer.finish()).await.map_err(push_error)
    }
}

fn push_error(error: PushError) -> ShuffleError {
    match error {
        PushError::Lost { shuffle, reason } | PushError::Unavailable { shuffle, reason } => {
            ShuffleError::Lost { shuffle, reason }
        }
        PushError::NoRoom { shuffle, reason } => ShuffleError::NoRoom { shuffle, reason },
    }
}

fn fetch_error(error: FetchError) -> ShuffleError {
    match error {
        FetchError::Lost { shuffle, reason } | FetchError::Unavailable { shuffle, reason } => {
            ShuffleError::Lost { shuffle, reason }
        }
    }
}

/// Polls a future or a stream in the context of another runtime: what it opens or spawns belongs there.
struct OnIo<T> {
    inner: Pin<Box<T>>,
    io: Handle,
}

fn on_io<T>(io: &Handle, inner: T) -> OnIo<T> {
    OnIo { inner: Box::pin(inner), io: io.clone() }
}

impl<T: Future> Future for OnIo<T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Output> {
        let io = self.io.clone();
        let _context = io.enter();
        self.inner.as_mut().poll(cx)
    }
}

impl<T: Stream> Stream for OnIo<T> {
    type Item = T::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T::Item>> {
        let io = self.io.clone();
        let _context = io.enter();
        self.inner.as_mut().poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::runtime::CpuRuntime;

    #[tokio::test]
    async fn what_a_call_spawns_lives_on_the_runtime_for_io() {
        let cpu = CpuRuntime::dedicated(1).expect("threads start");
        let io = Handle::current();
        let spawned_on = cpu
            .run(async move {
                on_io(&io, async {
                    tokio::spawn(async { thread::current().name().map(str::to_owned) }).await
                })
                .await
            })
            .await
            .expect("the work ends by itself")
            .expect("the spawned task ends by itself");
        assert_ne!(spawned_on.as_deref(), Some("penstock-cpu"));
    }
}
