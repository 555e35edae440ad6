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
mod share;
mod turns;
mod window;

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
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

use self::{connection::Connection, partition::PartitionReader, share::Shares};
use crate::{error::FetchError, options::ClientOptions, suspects::Suspects, tokens::Tokens};

/// With more streams and loans than this, new ones have everything sent: each lent file is one more that this process holds
/// open.
const BORROWING_SHARES_MAX: usize = 256;

/// All fetch connections of a process.
#[derive(Debug)]
pub(crate) struct Fetchers {
    network: Arc<dyn Network>,
    options: ClientOptions,
    tasks: Tasks,
    tokens: Arc<Tokens>,
    suspects: Suspects,
    /// One for each stream, and one for each file that a stream reads itself.
    shares: Arc<Shares>,
    workers: Mutex<HashMap<Arc<WorkerAddress>, Arc<Connection>>>,
}

impl Fetchers {
    pub fn new(network: Arc<dyn Network>, options: ClientOptions, tasks: Tasks, tokens: Arc<Tokens>) -> Self {
        let (suspects, workers) = Default::default();
        let shares = Arc::new(Shares::new(&options));
        Self { network, options, tasks, tokens, suspects, shares, workers }
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
        self.shares.held() <= BORROWING_SHARES_MAX
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
