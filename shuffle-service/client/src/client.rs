//! A process's way to all shuffle workers: one connection for pushes and one for fetches per worker.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::Stream;
use penstock_common::{lifecycle::Tasks, net::Network};
use penstock_protocol::{
    effort::FetchEffort,
    ids::{AttemptId, JobId, ShuffleId, TaskIndex},
    shuffle::{PartitionSource, ShuffleTarget, Winner},
    token::{ClusterSecret, JobToken},
};

use crate::{
    error::{FetchError, PushError},
    fetch::{self, Fetchers},
    options::ClientOptions,
    push::Pushers,
    revive::Reviver,
    tokens::Tokens,
    writer::Writer,
};

/// A cheap handle.
///
/// [`Self::with_reviver`] makes it survive full, closing and lost locations.
#[derive(Debug, Clone)]
pub struct ShuffleClient {
    pushers: Arc<Pushers>,
    fetchers: Arc<Fetchers>,
    tokens: Arc<Tokens>,
}

impl ShuffleClient {
    /// Connections are opened when they are needed and closed when `tasks` stops.
    pub fn new(network: Arc<dyn Network>, options: ClientOptions, tasks: Tasks) -> Self {
        Self::with(network, options, None, tasks)
    }

    /// As [`Self::new`]; writers go on in a new epoch when an old one takes nothing more. Without anybody to ask, a batch
    /// that is not accepted fails its attempt.
    pub fn with_reviver(
        network: Arc<dyn Network>,
        options: ClientOptions,
        reviver: Arc<dyn Reviver>,
        tasks: Tasks,
    ) -> Self {
        Self::with(network, options, Some(reviver), tasks)
    }

    fn with(
        network: Arc<dyn Network>,
        options: ClientOptions,
        reviver: Option<Arc<dyn Reviver>>,
        tasks: Tasks,
    ) -> Self {
        let tasks = tasks.child("shuffle-client");
        let tokens = Arc::new(Tokens::default());
        let (push_network, push_options) = (Arc::clone(&network), options.clone());
        let pushers = Pushers::new(push_network, push_options, reviver, tasks.clone(), Arc::clone(&tokens));
        let fetchers = Fetchers::new(network, options, tasks, Arc::clone(&tokens));
        Self { pushers: Arc::new(pushers), fetchers: Arc::new(fetchers), tokens }
    }

    /// Opens every job of the cluster, if its services ask for tokens. Executors are granted tokens instead.
    pub fn with_secret(self, secret: Option<ClusterSecret>) -> Self {
        if let Some(secret) = secret {
            self.tokens.derive_from(secret);
        }
        self
    }

    /// From now on the data of `job` is pushed and fetched with this token.
    pub fn grant(&self, job: JobId, token: JobToken) {
        self.tokens.grant(job, token);
    }

    /// A writer for one attempt of one map task; the map is the attempt's task index. Dropping it without `finish`
    /// leaves nothing visible.
    pub async fn writer(&self, attempt: AttemptId, target: Arc<ShuffleTarget>) -> Result<Writer, PushError> {
        Writer::new(Arc::clone(&self.pushers), attempt, target)
    }

    /// The payloads of one partition: those of the winners, each exactly once, in ascending order of batch id within a
    /// map. Ends with an error unless rows, bytes, batches and checksum add up to `source.totals`.
    pub fn read(
        &self,
        shuffle: ShuffleId,
        winners: Arc<[Winner]>,
        source: PartitionSource,
    ) -> impl Stream<Item = Result<Bytes, FetchError>> + Send + 'static + use<> {
        self.read_counted(shuffle, winners, source, Arc::default())
    }

    /// As [`Self::read`], and adds up what it takes.
    pub fn read_counted(
        &self,
        shuffle: ShuffleId,
        winners: Arc<[Winner]>,
        source: PartitionSource,
        effort: Arc<FetchEffort>,
    ) -> impl Stream<Item = Result<Bytes, FetchError>> + Send + 'static + use<> {
        fetch::read(Arc::clone(&self.fetchers), shuffle, winners, source, None, effort)
    }

    /// As [`Self::read`], but only what the maps from `maps.start` up to but not including `maps.end` wrote; `source.totals`
    /// are those maps' alone (see [`crate::owner::totals_of`]). Readers of disjoint ranges share a large partition, and
    /// together get each batch once. They may be given the same locations in the same order. Adds up what it takes.
    pub fn read_maps(
        &self,
        shuffle: ShuffleId,
        winners: &[Winner],
        source: PartitionSource,
        maps: Range<TaskIndex>,
        effort: Arc<FetchEffort>,
    ) -> impl Stream<Item = Result<Bytes, FetchError>> + Send + 'static + use<> {
        let winners = winners.iter().filter(|winner| maps.contains(&winner.map)).copied().collect();
        fetch::read(Arc::clone(&self.fetchers), shuffle, winners, source, Some(maps), effort)
    }
}
