//! Moves data out of memory when memory runs short: the largest locations first, and no more than needed.
//!
//! A small shuffle therefore never touches a disk. Not here: where data goes, and what a failed write means for a location.

use std::{convert::Infallible, sync::Arc};

use futures::{StreamExt, stream};
use penstock_common::lifecycle::CancellationToken;

use super::{
    store::Store,
    write_out::{Flushed, Named},
};
use crate::metrics;

pub(super) struct Flusher {
    pub store: Arc<Store>,
}

impl Flusher {
    pub async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.store.budget.pressure() => self.relieve().await,
            }
        }
    }

    /// Flushes until the lower mark is reached, nothing is left to flush, or no place takes anything.
    pub(super) async fn relieve(&self) {
        loop {
            let goal = self.store.budget.flush_goal();
            let candidates = if goal > 0 { self.largest(goal) } else { Vec::new() };
            if candidates.is_empty() {
                return;
            }
            let writes = candidates.into_iter().map(|candidate| self.store.write_out(candidate));
            let parallelism = self.store.settings.get().flush_parallelism;
            let flushed: Vec<_> = stream::iter(writes).buffer_unordered(parallelism).collect().await;
            metrics::memory_used(self.store.budget.used());
            if !flushed.contains(&Flushed::Freed) {
                self.store.budget.refuse_waiting();
                return;
            }
        }
    }

    /// The largest locations that together reach `goal`.
    fn largest(&self, goal: u64) -> Vec<Named> {
        let with_bytes = |named: Named| (named.location.flushable_bytes(), named);
        let mut candidates: Vec<_> =
            self.store.each_location().map(with_bytes).filter(|(bytes, _)| *bytes > 0).collect();
        candidates.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let mut sum = 0;
        let needed = candidates.into_iter().take_while(|(bytes, _)| {
            let before = sum;
            sum += bytes;
            before < goal
        });
        needed.map(|(_, named)| named).collect()
    }
}
