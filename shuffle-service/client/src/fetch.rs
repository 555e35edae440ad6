//! Connections that fetch: one per worker, shared by all streams of the process.
//!
//! In: locations with credits. Out: whole batches in the order in which they are stored. A stream whose connection broke
//! is opened again where it stopped; a copy that fails is replaced by the other one from its beginning. Not here: which
//! batches count, which is [`crate::winners`].

mod connection;
mod copies;
mod heard;
mod inbox;
mod loan;
mod location;
mod partition;

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::{Stream, stream};
use penstock_common::{
    lifecycle::{OnFailure, Tasks},
    net::Network,
};
use penstock_protocol::{
    effort::FetchEffort,
    ids::{ShuffleId, TaskIndex},
    shuffle::{PartitionSource, Winner, WorkerAddress},
};

use self::{connection::Connection, partition::PartitionReader};
use crate::{error::FetchError, options::ClientOptions, suspects::Suspects, tokens::Tokens};

/// With more streams than this, new ones have everything sent: each lent file is one more that this process holds open.
const BORROWING_STREAMS_MAX: usize = 256;

/// All fetch connections of a process.
#[derive(Debug)]
pub(crate) struct Fetchers {
    network: Arc<dyn Network>,
    options: ClientOptions,
    tasks: Tasks,
    tokens: Arc<Tokens>,
    suspects: Suspects,
    streams: AtomicUsize,
    workers: Mutex<HashMap<Arc<WorkerAddress>, Arc<Connection>>>,
}

impl Fetchers {
    pub fn new(network: Arc<dyn Network>, options: ClientOptions, tasks: Tasks, tokens: Arc<Tokens>) -> Self {
        let (suspects, streams, workers) = Default::default();
        Self { network, options, tasks, tokens, suspects, streams, workers }
    }

    /// The connection to a worker; started if there is none.
    fn connection(&self, worker: &Arc<WorkerAddress>) -> Arc<Connection> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = workers.get(worker).filter(|connection| connection.is_alive()) {
            return Arc::clone(connection);
        }
        workers.retain(|_, connection| connection.is_alive());
        let connection = Arc::new(Connection::new(Arc::clone(worker)));
        workers.insert(Arc::clone(worker), Arc::clone(&connection));
        let run = Arc::clone(&connection).run(
            Arc::clone(&self.network),
            self.options.answer_timeout(),
            self.tasks.stop_token(),
        );
        self.tasks.spawn("fetch-connection", OnFailure::Log, run);
        connection
    }

    fn may_borrow(&self) -> bool {
        self.streams.load(Ordering::Relaxed) <= BORROWING_STREAMS_MAX
    }

    /// The credit of one stream when `streams` share the budget. Never below the minimum, because a merge needs all of
    /// its streams to move.
    fn credit(&self) -> u32 {
        let share = self.options.fetch_bytes_total / self.streams.load(Ordering::Relaxed).max(1);
        let credit = share.clamp(self.options.fetch_stream_bytes_min, self.options.fetch_stream_bytes_max);
        u32::try_from(credit).unwrap_or(u32::MAX)
    }
}

/// See [`crate::ShuffleClient::read`].
pub(crate) fn read(
    fetchers: Arc<Fetchers>,
    shuffle: ShuffleId,
    winners: Arc<[Winner]>,
    source: PartitionSource,
    maps: Option<Range<TaskIndex>>,
    effort: Arc<FetchEffort>,
) -> impl Stream<Item = Result<Bytes, FetchError>> + Send + 'static {
    let reader = PartitionReader::new(fetchers, shuffle, &winners, source, maps, effort);
    stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|payload| (payload, reader)))
    })
}
