//! Whether anything comes from a worker, a byte of a long frame included.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use penstock_common::silence::Silence;
use tokio::io::{AsyncRead, ReadBuf};

/// Counts what was heard.
#[derive(Debug, Default)]
pub(super) struct Heard(AtomicU64);

impl Heard {
    /// Resolves once nothing came for all of `patience`. `patience_min`: the shortest one that anybody has.
    pub async fn nothing_for(&self, patience: Duration, patience_min: Duration) {
        let mut silence = Silence::new(patience_min);
        let mut heard = self.0.load(Ordering::Relaxed);
        while !silence.is_longer_than(patience) {
            tokio::time::sleep(silence.beat()).await;
            let now = self.0.load(Ordering::Relaxed);
            match std::mem::replace(&mut heard, now) == now {
                true => silence.goes_on(),
                false => silence.broken(),
            }
        }
    }
}

/// What is read through it is heard.
pub(super) struct Listening<'a, R> {
    pub reader: R,
    pub heard: &'a Heard,
}

impl<R: AsyncRead + Unpin> AsyncRead for Listening<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.reader).poll_read(cx, buf);
        if read.is_ready() {
            self.heard.0.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, time::Instant};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_is_no_silence_and_none_is_one() {
        let heard = Heard::default();
        let (mut worker, reader) = tokio::io::duplex(100);
        let mut listening = Listening { reader, heard: &heard };
        let speak = async {
            for _ in 0..10 {
                tokio::time::sleep(SECOND / 2).await;
                worker.write_all(&[0]).await.expect("somebody reads");
            }
            std::future::pending::<()>().await
        };
        let listen = async { tokio::io::copy(&mut listening, &mut tokio::io::sink()).await };
        let started = Instant::now();
        tokio::select! {
            () = heard.nothing_for(SECOND, SECOND) => {}
            () = speak => {}
            _ = listen => {}
        }
        let took = started.elapsed();
        assert!(took > 6 * SECOND && took < 7 * SECOND, "{took:?}");
    }
}
