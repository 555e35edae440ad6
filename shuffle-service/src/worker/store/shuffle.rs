//! One shuffle on this worker: its locations, its winners, and what is written down of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use penstock_protocol::{
    frame::Refusal,
    ids::ShuffleId,
    shuffle::{CommitVerdict, Winner},
};

use super::{LocationKey, lock, read, record::Record};
use crate::{
    metrics,
    worker::{location::Location, write_out::Named},
};

#[derive(Debug)]
pub(in crate::worker) struct Shuffle {
    pub id: ShuffleId,
    pub record: Record,
    pub(super) locations: RwLock<BTreeMap<LocationKey, Arc<Location>>>,
    /// Set by the first commit and never changed (invariant 9).
    winners: Mutex<Option<Vec<Winner>>>,
}

impl Shuffle {
    pub fn new(id: ShuffleId) -> Self {
        Self { id, record: Record::default(), locations: RwLock::default(), winners: Mutex::default() }
    }

    /// Whether these are the winners, now or since an earlier commit.
    pub fn set_winners(&self, winners: Vec<Winner>) -> bool {
        let mut known = lock(&self.winners);
        match &*known {
            Some(known) => *known == winners,
            None => {
                *known = Some(winners);
                true
            }
        }
    }

    pub fn named(&self) -> Vec<Named> {
        let named = |(key, location): (&LocationKey, &Arc<Location>)| Named {
            shuffle: self.id,
            key: *key,
            location: Arc::clone(location),
        };
        read(&self.locations).iter().map(named).collect()
    }

    pub async fn close(&self, keys: &[LocationKey], patience: Duration) -> Vec<(LocationKey, CommitVerdict)> {
        let commits = keys.iter().map(|key| {
            let location = read(&self.locations).get(key).cloned();
            async move {
                let verdict = match location {
                    Some(location) => location.commit(patience).await,
                    None => CommitVerdict::Failed { reason: Refusal::Unknown.to_string() },
                };
                metrics::committed(&verdict);
                (*key, verdict)
            }
        });
        futures::future::join_all(commits).await
    }

    pub fn is_untouched(&self) -> bool {
        read(&self.locations).values().all(|location| location.is_untouched())
    }
}
