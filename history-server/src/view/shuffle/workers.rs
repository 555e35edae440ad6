//! What each shuffle worker had to do with one exchange.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{model::Shuffle, view::ExchangeView};

#[derive(Debug, Default, Serialize, ToSchema)]
pub struct WorkerShare {
    pub worker: String,
    /// `host:port` of its data plane; absent if the log does not say.
    pub address: Option<String>,
    /// Partitions that clients pushed to it, as placed first.
    pub primaries: u32,
    /// Second copies of what went to others, as placed first.
    pub replicas: u32,
    /// Locations that came with new epochs.
    pub added: u32,
    /// Rows and bytes of the partitions that it holds: what winners wrote.
    pub rows: u64,
    pub bytes: u64,
    /// As committed: with headers, and with what losing attempts wrote.
    pub stored_bytes: Option<u64>,
    pub committed: u32,
    pub empty: u32,
    /// Copies that could not be read any more when the exchange was committed.
    pub failed: u32,
    /// How often writers named it as one that did not answer or lost what it held.
    pub suspected: u64,
    /// What it said, or what was said of it.
    pub trouble: Option<String>,
}

pub fn workers(shuffle: &Shuffle, view: Option<&ExchangeView>) -> Vec<WorkerShare> {
    let mut shares: BTreeMap<String, WorkerShare> = BTreeMap::new();
    let mut share = |worker: &str, change: &mut dyn FnMut(&mut WorkerShare)| {
        let new = || WorkerShare { worker: worker.to_owned(), ..WorkerShare::default() };
        change(shares.entry(worker.to_owned()).or_insert_with(new));
    };
    for placed in shuffle.placed.iter().flat_map(|placed| &placed.what.workers) {
        share(placed.worker.as_str(), &mut |share| {
            share.address = Some(placed.address.clone());
            (share.primaries, share.replicas) = (placed.primaries, placed.replicas);
        });
    }
    for placed in shuffle.growth.workers.values() {
        share(placed.worker.as_str(), &mut |share| {
            share.address = Some(placed.address.clone());
            share.added = placed.primaries.saturating_add(placed.replicas);
        });
    }
    for (worker, (times, _)) in &shuffle.growth.suspects {
        share(worker.as_str(), &mut |share| {
            share.suspected = *times;
            share.trouble = Some("writers could not push to it".to_owned());
        });
    }
    for committed in shuffle.committed.iter().flat_map(|committed| &committed.what.workers) {
        share(committed.worker.as_str(), &mut |share| {
            share.stored_bytes = Some(committed.stored_bytes);
            (share.committed, share.empty, share.failed) =
                (committed.committed, committed.empty, committed.failed);
            if let Some(reason) = &committed.reason {
                share.trouble = Some(reason.clone());
            }
        });
    }
    for held in view.iter().flat_map(|view| &view.workers) {
        share(&held.worker, &mut |share| (share.rows, share.bytes) = (held.rows, held.bytes));
    }
    shares.into_values().collect()
}
