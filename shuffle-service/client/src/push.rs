//! Connections that push: one per worker, shared by all writers of the process.
//!
//! In: frames with the permits of the windows they fill. Out: each frame's ticket is resolved exactly once. A frame whose
//! outcome is unknown is sent again over a new connection with the same bytes (invariant 7), or given back to its writer
//! when the worker stays away. Frames of one worker are always sent in the order in which they were queued, and nothing of
//! a writer is sent any more while something came back to it, so that batch ids of a map lie ascending in every epoch.

mod connection;
mod progress;
mod sent;
mod window;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use penstock_common::{
    lifecycle::{OnFailure, Tasks},
    net::Network,
};
use penstock_protocol::{frame::PushRecorder, ids::ShuffleId, shuffle::WorkerAddress, token::JobToken};
use tokio::sync::{Semaphore, mpsc};

use self::connection::Connection;
pub(crate) use self::progress::{News, Progress, Returned, Ticket, Why};
use self::window::Window;
use crate::{error::PushError, metrics, options::ClientOptions, revive::Reviver, tokens::Tokens};

/// All push connections of a process.
#[derive(Debug)]
pub(crate) struct Pushers {
    network: Arc<dyn Network>,
    pub options: ClientOptions,
    /// Whom to ask for new epochs; without, what came back fails its attempt.
    pub reviver: Option<Arc<dyn Reviver>>,
    tasks: Tasks,
    tokens: Arc<Tokens>,
    total: Arc<Semaphore>,
    workers: Mutex<HashMap<Arc<WorkerAddress>, Arc<Pusher>>>,
}

/// The way to one worker.
#[derive(Debug)]
pub(crate) struct Pusher {
    queue: mpsc::Sender<Request>,
    window: Arc<Window>,
    requests: Arc<Semaphore>,
}

/// A frame to send.
#[derive(Debug)]
struct Request {
    shuffle: ShuffleId,
    token: JobToken,
    batches: PushRecorder,
    ticket: Ticket,
    /// The silence of its worker after which it goes back to its writer.
    patience: Duration,
}

impl Pushers {
    pub fn new(
        network: Arc<dyn Network>,
        options: ClientOptions,
        reviver: Option<Arc<dyn Reviver>>,
        tasks: Tasks,
        tokens: Arc<Tokens>,
    ) -> Self {
        let total = Arc::new(Semaphore::new(options.push_bytes_total));
        Self { network, options, reviver, tasks, tokens, total, workers: Mutex::default() }
    }

    /// Queues a frame as soon as the windows have room for it. Its outcome shows in `progress`.
    pub async fn push(
        &self,
        worker: &Arc<WorkerAddress>,
        shuffle: ShuffleId,
        batches: PushRecorder,
        patience: Duration,
        progress: &Arc<Progress>,
    ) -> Result<(), PushError> {
        let (bytes, token) = (batches.body_bytes(), self.tokens.of(shuffle.job));
        loop {
            let pusher = self.pusher(worker);
            let ticket = self.ticket(&pusher, bytes, progress).await;
            let Some(ticket) = ticket else { return Err(stopping(shuffle)) };
            match pusher.queue.try_reserve() {
                Ok(slot) => {
                    slot.send(Request { shuffle, token, batches, ticket, patience });
                    progress.effort.pushes.add(1);
                    return Ok(());
                }
                // The connection had been idle and its task ended just now: the next round starts another.
                Err(mpsc::error::TrySendError::Closed(())) if !self.tasks.stop_token().is_cancelled() => {
                    ticket.withdraw()
                }
                Err(_) => {
                    ticket.withdraw();
                    return Err(stopping(shuffle));
                }
            }
        }
    }

    async fn ticket(&self, pusher: &Pusher, bytes: usize, progress: &Arc<Progress>) -> Option<Ticket> {
        let started = tokio::time::Instant::now();
        // A frame that is larger than everything together gets through alone.
        let total = bytes.min(self.options.push_bytes_total);
        let total = u32::try_from(total).expect("the sum of all windows is below 4 GiB");
        // Always in this order; each is given back by acknowledgements alone, so nobody waits for a waiter.
        let total = Arc::clone(&self.total).acquire_many_owned(total).await.ok()?;
        let flight = pusher.window.room(bytes).await;
        let request = Arc::clone(&pusher.requests).acquire_owned().await.ok()?;
        let waited = started.elapsed();
        if waited > Duration::ZERO {
            metrics::push_waited(waited);
        }
        Some(Ticket::new(Arc::clone(progress), flight, [total, request]))
    }

    fn pusher(&self, worker: &Arc<WorkerAddress>) -> Arc<Pusher> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pusher) = workers.get(worker).filter(|pusher| !pusher.queue.is_closed()) {
            return Arc::clone(pusher);
        }
        workers.retain(|_, pusher| !pusher.queue.is_closed());
        let (queue, requests) = mpsc::channel(self.options.push_window_requests);
        let tries = match self.reviver {
            Some(_) => self.options.revive_after_tries,
            None => self.options.connect_tries,
        };
        let (network, worker_address) = (Arc::clone(&self.network), Arc::clone(worker));
        let connection = Connection::new(network, worker_address, self.options.clone(), tries, requests);
        self.tasks.spawn("push-connection", OnFailure::Log, connection.run(self.tasks.stop_token()));
        let pusher = Arc::new(Pusher {
            queue,
            window: Arc::new(Window::new(self.options.push_window_bytes)),
            requests: Arc::new(Semaphore::new(self.options.push_window_requests)),
        });
        workers.insert(Arc::clone(worker), Arc::clone(&pusher));
        pusher
    }
}

fn stopping(shuffle: ShuffleId) -> PushError {
    PushError::Unavailable { shuffle, reason: "this process is stopping".to_owned() }
}
