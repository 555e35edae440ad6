//! Connections for which there is no room: whoever opens one hears it, and comes again or goes elsewhere.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_common::{
    lifecycle::{OnFailure, Tasks},
    net::Stream,
};
use penstock_protocol::frame::{Fault, Refusal};
use tokio::{sync::Semaphore, time::Instant};

use super::say_goodbye;
use crate::metrics;

/// So many hear it at the same time; what comes on top of them is closed at once.
const ANSWERED_MAX: usize = 64;
/// Between two lines in the log.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct TurnedAway {
    answered: Semaphore,
    untold: Mutex<Untold>,
    tasks: Tasks,
}

/// What the log does not say yet.
#[derive(Debug, Default)]
struct Untold {
    connections: u64,
    told_at: Option<Instant>,
}

/// When the log is to speak of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Tell {
    /// Of so many.
    Now(u64),
    /// Of this one and of those that come until then.
    At(Instant),
    /// Together with an earlier one.
    WithEarlier,
}

impl TurnedAway {
    pub fn new(tasks: Tasks) -> Arc<Self> {
        Arc::new(Self { answered: Semaphore::new(ANSWERED_MAX), untold: Mutex::default(), tasks })
    }

    pub async fn turn_away(self: Arc<Self>, stream: Stream, peer: &str, reason: String) {
        metrics::turned_away();
        Arc::clone(&self).tell(peer, &reason);
        if let Ok(_answered) = self.answered.try_acquire() {
            say_goodbye(stream, Fault { refusal: Refusal::NoRoom, message: reason }).await;
        }
    }

    fn tell(self: Arc<Self>, peer: &str, reason: &str) {
        let tell = self.untold().count(Instant::now());
        match tell {
            Tell::Now(connections) => {
                tracing::warn!(peer, connections, reason, "too many data connections were opened");
            }
            Tell::At(due) => {
                let stop = self.tasks.stop_token();
                self.tasks.clone().spawn("turned-away", OnFailure::Log, async move {
                    stop.run_until_cancelled(tokio::time::sleep_until(due)).await;
                    if let Some(connections) = self.untold().take(Instant::now()) {
                        tracing::warn!(
                            connections,
                            "more data connections were opened than there is room for"
                        );
                    }
                    Ok::<_, Infallible>(())
                });
            }
            Tell::WithEarlier => {}
        }
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Untold {
    fn count(&mut self, now: Instant) -> Tell {
        self.connections += 1;
        match self.told_at.map(|at| at + TELL_INTERVAL).filter(|due| now < *due) {
            None => Tell::Now(self.take(now).unwrap_or(0)),
            Some(due) if self.connections == 1 => Tell::At(due),
            Some(_) => Tell::WithEarlier,
        }
    }

    /// How many the log is to speak of; none if it has spoken of all.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let connections = std::mem::take(&mut self.connections);
        (connections > 0).then(|| {
            self.told_at = Some(now);
            connections
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_speaks_once_in_a_while_of_all_since() {
        let (mut untold, start) = (Untold::default(), Instant::now());
        let due = start + TELL_INTERVAL;
        assert_eq!(untold.count(start), Tell::Now(1));
        assert_eq!(untold.count(start), Tell::At(due));
        assert_eq!(untold.count(start + TELL_INTERVAL / 2), Tell::WithEarlier);
        assert_eq!(untold.take(due), Some(2));
        assert_eq!(untold.count(due), Tell::At(due + TELL_INTERVAL));
        assert_eq!(untold.count(due + TELL_INTERVAL), Tell::Now(2));
        assert_eq!(untold.take(due + TELL_INTERVAL), None, "they were told with the one that came then");
    }
}
