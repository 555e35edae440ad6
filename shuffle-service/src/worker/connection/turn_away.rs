//! Connections above the limit: whoever opens one hears that there is no room, and comes again or goes elsewhere.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use penstock_common::{
    lifecycle::{OnFailure, Tasks},
    net::Stream,
};
use penstock_protocol::frame::{self, Fault, ReadFrameError, Refusal};
use tokio::{io::AsyncWriteExt, sync::Semaphore, time::Instant};

use super::HELLO_BYTES_MAX;
use crate::metrics;

/// So many hear it at the same time; what comes on top of them is closed at once.
const ANSWERED_MAX: usize = 64;
/// A peer is not waited for longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two lines in the log.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct TurnedAway {
    answered: Arc<Semaphore>,
    untold: Mutex<Untold>,
}

/// What the log does not say yet.
#[derive(Debug, Default)]
struct Untold {
    connections: u64,
    told_at: Option<Instant>,
}

impl TurnedAway {
    pub fn new() -> Self {
        Self { answered: Arc::new(Semaphore::new(ANSWERED_MAX)), untold: Mutex::default() }
    }

    pub fn turn_away(&self, stream: Stream, peer: &str, connections_max: usize, tasks: &Tasks) {
        metrics::turned_away();
        let untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner).count(Instant::now());
        if let Some(connections) = untold {
            tracing::warn!(peer, connections, connections_max, "too many data connections were opened");
        }
        let Ok(answered) = Arc::clone(&self.answered).try_acquire_owned() else { return };
        tasks.spawn("turned-away", OnFailure::Log, async move {
            let _answered = answered;
            // The peer may be gone, or not reading.
            let _ = tokio::time::timeout(ANSWER_TIMEOUT, answer(stream, connections_max)).await;
            Ok::<_, Infallible>(())
        });
    }
}

impl Untold {
    /// Counts a connection; how many the log is to speak of now.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.connections += 1;
        let was_told_lately = self.told_at.is_some_and(|at| now.duration_since(at) < TELL_INTERVAL);
        if was_told_lately {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.connections))
    }
}

/// Everything that the peer sends is read: closed before that, a connection may lose what was sent along it.
async fn answer(mut stream: Stream, connections_max: usize) -> Result<(), ReadFrameError> {
    frame::read_frame(&mut stream, HELLO_BYTES_MAX).await?;
    let message = format!("its {connections_max} data connections are all in use");
    let fault = Fault { refusal: Refusal::NoRoom, message };
    frame::write_all(&mut stream, &[fault.encode()]).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_speaks_once_in_a_while_of_all_since() {
        let (mut untold, start) = (Untold::default(), Instant::now());
        assert_eq!(untold.count(start), Some(1));
        assert_eq!(untold.count(start), None);
        assert_eq!(untold.count(start + TELL_INTERVAL / 2), None);
        assert_eq!(untold.count(start + TELL_INTERVAL), Some(3));
        assert_eq!(untold.count(start + TELL_INTERVAL), None);
    }
}
