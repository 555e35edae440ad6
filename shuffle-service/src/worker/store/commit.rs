//! Closes locations, and answers for each one that was asked for.

use std::{sync::Arc, time::Duration};

use penstock_protocol::{
    ids::ShuffleId,
    shuffle::{CommitVerdict, Winner},
};

use super::{LocationKey, Shuffle, Store};

impl Store {
    /// Closes the locations and answers for each one, in the order asked (invariant 4).
    pub async fn commit(
        self: &Arc<Self>,
        id: ShuffleId,
        keys: &[LocationKey],
        winners: Vec<Winner>,
        patience: Duration,
    ) -> Vec<(LocationKey, CommitVerdict)> {
        match self.shuffle(id) {
            Ok(shuffle) if shuffle.set_winners(winners) => self.close(&shuffle, keys, patience).await,
            Ok(_) => failed(keys, "it was committed with other winners"),
            Err(refusal) => failed(keys, &refusal.to_string()),
        }
    }

    /// Closes locations that a split has ended, before the winners are known. The later commit gives the same verdicts
    /// (invariant 17).
    pub async fn commit_early(
        self: &Arc<Self>,
        id: ShuffleId,
        keys: &[LocationKey],
        patience: Duration,
    ) -> Vec<(LocationKey, CommitVerdict)> {
        match self.shuffle(id) {
            Ok(shuffle) => self.close(&shuffle, keys, patience).await,
            Err(refusal) => failed(keys, &refusal.to_string()),
        }
    }

    async fn close(
        self: &Arc<Self>,
        shuffle: &Arc<Shuffle>,
        keys: &[LocationKey],
        patience: Duration,
    ) -> Vec<(LocationKey, CommitVerdict)> {
        self.prepare_commit(shuffle, keys, patience).await;
        shuffle.record.set_due();
        shuffle.close(keys, patience).await
    }
}

fn failed(keys: &[LocationKey], reason: &str) -> Vec<(LocationKey, CommitVerdict)> {
    let verdict = CommitVerdict::Failed { reason: reason.to_owned() };
    keys.iter().map(|key| (*key, verdict.clone())).collect()
}
