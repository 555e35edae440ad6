//! Reads on their way for the streams of one connection.
//!
//! Usually one at a time: what a read brings is held until it is written. One that takes longer than its turn is put aside, so
//! that a disk or an object store that is slow, or away, keeps only those waiting who read from there.

use std::time::Duration;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use penstock_protocol::frame::SIGN_OF_LIFE;
use tokio::{sync::oneshot, time::Instant};

use super::{
    stream::{Next, OutgoingStream},
    streams::Streams,
};
use crate::worker::store::Store;

/// For so long the other streams wait for one read.
const TURN: Duration = Duration::from_millis(10);
/// What so many bring may have to be held at the same time: a chunk each, or the whole of a batch that is larger.
const READS_MAX: usize = 32;
/// Bytes of one stream that are read at once.
const CHUNK_BYTES: u64 = 512 << 10;
/// The same, beside many others.
const CHUNK_BYTES_MIN: u64 = 64 << 10;

/// A stream, and what it sends next; nothing if its reader has closed it.
type Ended = Option<(OutgoingStream, Next)>;

pub(super) struct Reads<'a> {
    store: &'a Store,
    streams: &'a Streams,
    under_way: FuturesUnordered<BoxFuture<'a, Ended>>,
}

impl<'a> Reads<'a> {
    pub fn new(store: &'a Store, streams: &'a Streams) -> Self {
        Self { store, streams, under_way: FuturesUnordered::new() }
    }

    /// What the next stream sends. None if the readers have waited for that for so long that they should hear that this
    /// worker is alive.
    pub async fn next(&mut self) -> Ended {
        let sign_of_life = tokio::time::sleep(SIGN_OF_LIFE);
        tokio::pin!(sign_of_life);
        loop {
            if let Some(ended) = self.ended() {
                return Some(ended);
            }
            let has_begun = self.begin();
            if self.under_way.is_empty() {
                self.streams.changed().await;
                sign_of_life.as_mut().reset(Instant::now() + SIGN_OF_LIFE);
                continue;
            }
            tokio::select! {
                biased;
                Some(ended) = self.under_way.next() => if ended.is_some() { return ended },
                () = &mut sign_of_life => return None,
                () = tokio::time::sleep(TURN), if has_begun => {}
                () = self.streams.changed(), if !has_begun => {}
            }
        }
    }

    /// The same, if it need not be waited for longer than a turn.
    pub async fn next_soon(&mut self) -> Ended {
        if let Some(ended) = self.ended() {
            return Some(ended);
        }
        let turn = if self.begin() { TURN } else { Duration::ZERO };
        if self.under_way.is_empty() {
            return None;
        }
        tokio::time::timeout(turn, self.under_way.next()).await.ok().flatten().flatten()
    }

    /// What is there already. It comes before another read begins, so that there are no more at the same time than needed.
    fn ended(&mut self) -> Ended {
        while let Some(Some(ended)) = self.under_way.next().now_or_never() {
            if ended.is_some() {
                return ended;
            }
        }
        None
    }

    /// Begins to read for the next stream that may send, if there is one.
    fn begin(&mut self) -> bool {
        if self.under_way.len() >= READS_MAX {
            return false;
        }
        let Some((stream, closed)) = self.streams.take() else { return false };
        let bytes_max = chunk_bytes(self.under_way.len());
        self.under_way.push(read(stream, closed, self.store, bytes_max).boxed());
        true
    }
}

/// Less beside others, so that all together bring little more than a single one.
fn chunk_bytes(others: usize) -> u64 {
    (CHUNK_BYTES / (others as u64 + 1)).max(CHUNK_BYTES_MIN)
}

async fn read(
    mut stream: OutgoingStream,
    closed: oneshot::Receiver<()>,
    store: &Store,
    bytes_max: u64,
) -> Ended {
    let next = tokio::select! {
        biased;
        // Its sender is gone.
        _ = closed => return None,
        next = stream.next(store, bytes_max) => next,
    };
    Some((stream, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_alone_is_large_and_all_that_wait_together_hold_a_few_mebibytes() {
        assert_eq!(chunk_bytes(0), CHUNK_BYTES);
        assert!((0..READS_MAX).map(chunk_bytes).sum::<u64>() < 6 << 20);
    }
}
