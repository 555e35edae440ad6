//! Replayed logs, kept while somebody looks at them.
//!
//! A log is read up to its newest segment each time it is opened; what was read before is not read again. Decoding
//! runs on blocking threads, so that a long log does not hold up other requests.

use std::{collections::HashMap, sync::Arc};

use penstock_protocol::ids::JobId;
use tokio::sync::Mutex;

use crate::{
    metrics,
    replay::Replay,
    source::{Segment, Source, SourceError},
};

#[derive(Debug)]
pub struct Logs {
    source: Source,
    attempts_max: usize,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    uses: u64,
    logs: HashMap<JobId, Cached>,
}

#[derive(Debug)]
struct Cached {
    replay: Arc<Mutex<Replay>>,
    attempts: usize,
    last_use: u64,
}

impl Logs {
    /// Keeps models of together about `attempts_max` attempts.
    pub fn new(source: Source, attempts_max: usize) -> Self {
        Self { source, attempts_max, cache: Mutex::default() }
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The job's log as far as it is written; `None` if there is none.
    pub async fn open(&self, job: JobId) -> Result<Option<Arc<Mutex<Replay>>>, SourceError> {
        let replay = self.cached(job).await;
        let attempts = {
            let mut replay = replay.lock().await;
            self.catch_up(job, &mut replay).await?;
            if replay.starts().is_empty() && replay.model().log.is_whole() {
                drop(replay);
                self.forget(job).await;
                return Ok(None);
            }
            replay.model().attempts()
        };
        self.remember(job, attempts).await;
        Ok(Some(replay))
    }

    async fn catch_up(&self, job: JobId, replay: &mut Replay) -> Result<(), SourceError> {
        if replay.model().finished.is_some() && replay.model().log.pending_cut.is_none() {
            return Ok(());
        }
        let segments = self.source.segments(job).await?;
        let last = segments.last().map(|segment| segment.number);
        for segment in
            segments.into_iter().filter(|segment| segment.number >= replay.resume_at()).collect::<Vec<_>>()
        {
            let is_last = Some(segment.number) == last;
            self.apply(job, replay, segment, is_last).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        job: JobId,
        replay: &mut Replay,
        segment: Segment,
        is_last: bool,
    ) -> Result<(), SourceError> {
        let bytes = self.source.segment(job, &segment).await?;
        metrics::segment_read(bytes.len());
        let mut taken = std::mem::take(replay);
        let applied = tokio::task::spawn_blocking(move || {
            taken.apply_segment(segment.number, &segment.name, &bytes, is_last);
            taken
        });
        match applied.await {
            Ok(applied) => *replay = applied,
            Err(failure) => std::panic::resume_unwind(failure.into_panic()),
        }
        Ok(())
    }

    async fn cached(&self, job: JobId) -> Arc<Mutex<Replay>> {
        let mut cache = self.cache.lock().await;
        cache.uses += 1;
        let last_use = cache.uses;
        let cached =
            cache.logs.entry(job).or_insert_with(|| Cached { replay: Arc::default(), attempts: 0, last_use });
        cached.last_use = last_use;
        cached.replay.clone()
    }

    async fn forget(&self, job: JobId) {
        self.cache.lock().await.logs.remove(&job);
    }

    async fn remember(&self, job: JobId, attempts: usize) {
        let mut cache = self.cache.lock().await;
        if let Some(cached) = cache.logs.get_mut(&job) {
            cached.attempts = attempts;
        }
        while cache.logs.len() > 1 && cache.weight() > self.attempts_max {
            let Some(oldest) =
                cache.logs.iter().min_by_key(|(_, cached)| cached.last_use).map(|(job, _)| *job)
            else {
                return;
            };
            cache.logs.remove(&oldest);
        }
    }
}

impl Cache {
    /// Small jobs weigh something too: their plans and operators.
    fn weight(&self) -> usize {
        self.logs.values().map(|cached| cached.attempts + 500).sum()
    }
}
