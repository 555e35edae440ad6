//! Moves data out of memory when memory runs short: the largest locations first, and no more than needed.
//!
//! A small shuffle therefore never touches a disk. Not here: where data goes, and what a failed write means for a location.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, task::Poll};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
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

    /// Flushes until the lower mark is reached, nothing is left to flush, or no place takes anything. One write begins when
    /// another one ends: between rounds a disk would have nothing to do.
    pub(super) async fn relieve(&self) {
        let mut round = Round::default();
        while self.store.budget.flush_goal() > 0 || !round.is_new() {
            let may_begin_more = self.begin_writes(&mut round).await;
            let ended = tokio::select! {
                biased;
                ended = round.writes.next() => ended,
                () = self.store.budget.pressure(), if may_begin_more => continue,
            };
            match ended {
                Some(ended) => {
                    round.end(ended);
                    metrics::memory_used(self.store.budget.used());
                }
                None if round.freed_nothing() => return self.store.budget.refuse_waiting(),
                // What was not written may find a place now.
                None if round.is_stuck => round = Round::default(),
                None => return,
            }
        }
    }

    /// Whether it would begin more if there were more to write.
    async fn begin_writes(&self, round: &mut Round) -> bool {
        let parallelism = self.store.settings.get().flush_parallelism;
        while !round.is_stuck
            && round.writes.len() < parallelism
            && let Some((bytes, named)) = self.next(round)
        {
            round.writing_bytes += bytes;
            let store = Arc::clone(&self.store);
            let mut write: BoxFuture<'static, _> =
                Box::pin(async move { (bytes, store.write_out(named).await) });
            // It begins now: until then its location would be chosen again.
            match futures::poll!(&mut write) {
                Poll::Ready(ended) => round.end(ended),
                Poll::Pending => round.writes.push(write),
            }
        }
        !round.is_stuck && round.writes.len() < parallelism
    }

    fn next(&self, round: &mut Round) -> Option<(u64, Named)> {
        round.has_goal(self.store.budget.flush_goal());
        if round.candidates.is_empty() {
            round.candidates = self.largest(round.goal_bytes);
        }
        let (bytes, named) = round.candidates.pop_front()?;
        round.goal_bytes = round.goal_bytes.saturating_sub(bytes);
        Some((bytes, named))
    }

    /// The largest locations that together reach `goal`, with the bytes that each writes at once; none that is being written.
    fn largest(&self, goal: u64) -> VecDeque<(u64, Named)> {
        if goal == 0 {
            return VecDeque::new();
        }
        let with_bytes = |named: Named| (named.location.flushable_bytes(), named);
        let mut candidates: Vec<_> =
            self.store.each_location().map(with_bytes).filter(|(bytes, _)| *bytes > 0).collect();
        candidates.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let mut sum = 0;
        let write_bytes = self.store.budget.write_bytes();
        let written = candidates.into_iter().map(|(bytes, named)| (bytes.min(write_bytes), named));
        let needed = written.take_while(|(bytes, _)| {
            let before = sum;
            sum += bytes;
            before < goal
        });
        needed.collect()
    }
}

/// Writes that go on at the same time.
#[derive(Default)]
struct Round {
    /// What is yet to be begun.
    goal_bytes: u64,
    candidates: VecDeque<(u64, Named)>,
    writes: FuturesUnordered<BoxFuture<'static, (u64, Flushed)>>,
    writing_bytes: u64,
    has_freed: bool,
    /// One of them freed nothing: no more begin.
    is_stuck: bool,
}

impl Round {
    /// Adds to what it is to move: a round goes on to the lower mark even when it has come below the upper one.
    fn has_goal(&mut self, bytes: u64) {
        self.goal_bytes = self.goal_bytes.max(bytes.saturating_sub(self.writing_bytes));
    }

    fn end(&mut self, (bytes, flushed): (u64, Flushed)) {
        self.writing_bytes -= bytes;
        match flushed {
            Flushed::Freed => self.has_freed = true,
            Flushed::Kept | Flushed::NoPlace | Flushed::StillRunning => self.is_stuck = true,
        }
    }

    fn is_new(&self) -> bool {
        self.writes.is_empty() && !self.has_freed && !self.is_stuck
    }

    fn freed_nothing(&self) -> bool {
        self.is_stuck && !self.has_freed
    }
}

#[cfg(test)]
mod tests;
