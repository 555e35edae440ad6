//! Second copies: one connection to each worker that holds some.
//!
//! In: batches that this worker took. Out: the other worker's verdicts. A link that broke stays broken, and so do the
//! locations that use it: what was on its way has an unknown outcome, and the batches of one map must lie in the same order
//! on both copies. Clients go on in a new epoch, which gets a new link. Not here: what verdicts mean.

mod connection;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use penstock_common::{
    lifecycle::{OnFailure, Tasks},
    net::Network,
};
#[cfg(test)]
use penstock_protocol::frame::PushVerdict;
use penstock_protocol::{
    frame::{Answer, PushRecorder},
    ids::ShuffleId,
    shuffle::WorkerAddress,
    token::ClusterSecret,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use self::connection::Connection;

/// Frames that wait for one link.
const QUEUE_MAX: usize = 256;
/// Bytes on their way to all replicas together: one part in so many of the worker's memory, within these bounds. They are
/// part of what a worker keeps for itself.
const WINDOW_PART: u64 = 16;
const WINDOW_BYTES_MIN: u64 = 1 << 20;
const WINDOW_BYTES_MAX: u64 = 16 << 20;

/// All links of a worker.
pub(super) struct Links {
    network: Arc<dyn Network>,
    secret: Option<ClusterSecret>,
    tasks: Tasks,
    window: Arc<Semaphore>,
    window_bytes: usize,
    /// A replica that says nothing for so long although it owes an answer is given up.
    silence: Duration,
    links: Mutex<HashMap<Arc<WorkerAddress>, Weak<Link>>>,
}

/// The way to one replica; it closes when no location uses it any more.
pub(super) struct Link {
    queue: mpsc::Sender<Forward>,
    window: Arc<Semaphore>,
    window_bytes: usize,
}

/// The batches of one frame that go to one replica.
struct Forward {
    shuffle: ShuffleId,
    copies: PushRecorder,
    answer: oneshot::Sender<Answer>,
    _window: OwnedSemaphorePermit,
}

/// The replica's verdicts; an error if the link broke.
pub(super) type Verdicts = oneshot::Receiver<Answer>;

impl Links {
    pub fn new(
        network: Arc<dyn Network>,
        secret: Option<ClusterSecret>,
        memory_bytes: u64,
        silence: Duration,
        tasks: Tasks,
    ) -> Self {
        let window_bytes = (memory_bytes / WINDOW_PART).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        let window_bytes = usize::try_from(window_bytes).expect("at most WINDOW_BYTES_MAX");
        let window = Arc::new(Semaphore::new(window_bytes));
        Self { network, secret, tasks, window, window_bytes, silence, links: Mutex::default() }
    }

    /// The link to a replica; started if there is none that works.
    pub fn to(&self, replica: WorkerAddress) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let known = links.get(&replica).and_then(Weak::upgrade).filter(|link| !link.is_broken());
        if let Some(link) = known {
            return link;
        }
        links.retain(|_, link| link.upgrade().is_some_and(|link| !link.is_broken()));
        let (queue, forwards) = mpsc::channel(QUEUE_MAX);
        let replica = Arc::new(replica);
        let connection = Connection::new(Arc::clone(&replica), self.secret.clone(), self.silence, forwards);
        let run = connection.run(Arc::clone(&self.network), self.tasks.stop_token());
        self.tasks.spawn("replica-link", OnFailure::Log, run);
        let link = Link { queue, window: Arc::clone(&self.window), window_bytes: self.window_bytes };
        let link = Arc::new(link);
        links.insert(replica, Arc::downgrade(&link));
        link
    }
}

impl Link {
    pub fn is_broken(&self) -> bool {
        self.queue.is_closed()
    }

    /// Queues batches in their order; waits while the window is full. What they became comes with the result.
    pub async fn send(&self, shuffle: ShuffleId, copies: PushRecorder) -> Verdicts {
        let (answer, verdicts) = oneshot::channel();
        // A frame that is larger than the whole window gets through alone.
        let bytes = copies.body_bytes().min(self.window_bytes);
        let bytes = u32::try_from(bytes).expect("at most WINDOW_BYTES_MAX");
        if let Ok(window) = Arc::clone(&self.window).acquire_many_owned(bytes).await {
            // If the link broke, the answer goes with the forward.
            let _ = self.queue.send(Forward { shuffle, copies, answer, _window: window }).await;
        }
        verdicts
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("is_broken", &self.is_broken()).finish_non_exhaustive()
    }
}

/// The other end of a link in a test.
#[cfg(test)]
pub(super) struct OtherEnd(mpsc::Receiver<Forward>);

#[cfg(test)]
impl OtherEnd {
    /// Answers the next frame; false if none will come.
    pub async fn answer(&mut self, verdict: PushVerdict) -> bool {
        let Some(forward) = self.0.recv().await else { return false };
        // Whoever pushed may have gone.
        let _ = forward.answer.send(Answer { request: 0, verdicts: vec![verdict] });
        true
    }
}

#[cfg(test)]
impl Link {
    /// One that breaks when the test drops its other end.
    pub fn for_test() -> (Arc<Self>, OtherEnd) {
        let (queue, forwards) = mpsc::channel(QUEUE_MAX);
        let link = Self { queue, window: Arc::new(Semaphore::new(1 << 20)), window_bytes: 1 << 20 };
        (Arc::new(link), OtherEnd(forwards))
    }
}
