//! Connections that have not said hello yet: they take no room from those that have, and none from each other for long.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use penstock_common::{lifecycle::CancellationToken, net::Stream};
use penstock_protocol::{
    build,
    frame::{self, Hello, Kind, Purpose, Refusal},
};

use super::Ended;
use crate::worker::store::Store;

/// A client that does not say hello in this time is none.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// A hello is a few dozen bytes.
const HELLO_BYTES_MAX: usize = 4 << 10;
/// So many are waited for. The one that has been silent for longest makes room for the next: clients say hello at once.
const STRANGERS_MAX: usize = 256;

/// All who have not said hello.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// In the order in which they came.
    strangers: BTreeMap<u64, CancellationToken>,
    next: u64,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    number: u64,
    sent_away: CancellationToken,
    all: Arc<Strangers>,
}

impl Strangers {
    pub fn enter(self: &Arc<Self>) -> Stranger {
        let sent_away = CancellationToken::new();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.next;
        waiting.next += 1;
        waiting.strangers.insert(number, sent_away.clone());
        if waiting.strangers.len() > STRANGERS_MAX
            && let Some((_, oldest)) = waiting.strangers.pop_first()
        {
            oldest.cancel();
        }
        Stranger { number, sent_away, all: Arc::clone(self) }
    }
}

impl Stranger {
    /// Waits for a hello to this worker. Whoever has said it is no stranger any more.
    pub async fn hello(self, stream: &mut Stream, store: &Store) -> Result<Hello, Ended> {
        let frame = tokio::time::timeout(HELLO_TIMEOUT, frame::read_frame(stream, HELLO_BYTES_MAX));
        let frame = self.sent_away.run_until_cancelled(frame).await;
        let frame = frame.ok_or_else(|| Ended::TurnedAway("too many have not said hello".to_owned()))?;
        let frame = frame.map_err(|_| Ended::Fault(Refusal::BadFrame, "no hello in time".to_owned()))??;
        let frame = frame.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if frame.kind != Kind::Hello {
            return Err(Ended::Fault(Refusal::BadFrame, format!("expected a hello, got {:?}", frame.kind)));
        }
        let hello = Hello::parse(frame.body)?;
        require_this_worker(&hello, store)?;
        Ok(hello)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).strangers.remove(&self.number);
    }
}

fn require_this_worker(hello: &Hello, store: &Store) -> Result<(), Ended> {
    build::require_same_release("the client", &hello.build, "shuffle worker")
        .map_err(|refusal| Ended::Fault(Refusal::OtherBuild, refusal.to_string()))?;
    let answered = match hello.purpose {
        Purpose::Push | Purpose::Replicate => hello.incarnation == store.incarnation,
        // Each stream is checked by itself: only what that life committed is served.
        Purpose::Fetch => store.serves(hello.incarnation),
    };
    if !answered {
        let message =
            format!("worker {} lives as {}, not as {}", store.worker, store.incarnation, hello.incarnation);
        return Err(Ended::Fault(Refusal::OtherIncarnation, message));
    }
    Ok(())
}
