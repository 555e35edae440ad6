//! All jobs of the store as summaries, live and finished in one list.
//!
//! A finished job's summary is read once; unfinished ones are read again at each refresh. An unfinished job that shows
//! no sign of life is LOST: that is this server's verdict, which it never writes, so that a coordinator that goes on
//! after all takes it back. Not here: searching (see [`search`]) and what is in a log.

pub mod search;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, RwLock},
    time::Duration,
};

use futures::StreamExt;
use penstock_common::clock::{Clock, Timestamp};
use penstock_protocol::{
    event::{JobState, Summary},
    ids::JobId,
};
use tokio::sync::Notify;

use crate::{
    logs::Logs,
    metrics,
    source::{Source, SourceError},
};

/// Summaries read at the same time: so many groups of so many jobs.
const GROUPS_MAX: usize = 4;
const GROUP_JOBS: usize = 16;
/// A LOST job is looked at again this rarely: somebody may still go on with it.
const LOST_RECHECK: Duration = Duration::from_secs(60);

/// One job in the list.
#[derive(Debug, Clone)]
pub struct Entry {
    pub summary: Arc<Summary>,
    /// The summary's state, or LOST.
    pub state: JobState,
    checked_at: Timestamp,
}

#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub jobs: Arc<BTreeMap<JobId, Entry>>,
    /// Directories of which neither the summary nor the log can be read.
    pub unreadable: usize,
    /// Absent before the first look at the store has ended.
    pub refreshed_at: Option<Timestamp>,
    /// Why the last look at the store failed, if it did.
    pub error: Option<String>,
}

#[derive(Debug)]
pub struct Index {
    source: Source,
    logs: Arc<Logs>,
    clock: Arc<dyn Clock>,
    lost_after: Duration,
    snapshot: RwLock<Snapshot>,
    first_refresh: Notify,
}

impl Index {
    pub fn new(source: Source, logs: Arc<Logs>, clock: Arc<dyn Clock>, lost_after: Duration) -> Self {
        Self { source, logs, clock, lost_after, snapshot: RwLock::default(), first_refresh: Notify::new() }
    }

    pub fn location(&self) -> &str {
        self.source.location()
    }

    /// The last known list; waits for the first one after a start.
    pub async fn snapshot(&self) -> Snapshot {
        loop {
            let refreshed = self.first_refresh.notified();
            tokio::pin!(refreshed);
            refreshed.as_mut().enable();
            let snapshot = self.current();
            if snapshot.refreshed_at.is_some() || snapshot.error.is_some() {
                return snapshot;
            }
            refreshed.await;
        }
    }

    /// Looks at the store now. The former list stays if that fails.
    pub async fn refresh(&self) -> Result<(), SourceError> {
        let started = self.clock.now();
        let known = self.current().jobs;
        let result = self.read_changed(&known).await;
        let mut snapshot = self.snapshot.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let answer = match result {
            Ok((jobs, unreadable)) => {
                metrics::index_refreshed(jobs.len(), self.clock.now() - started);
                *snapshot = Snapshot {
                    jobs: Arc::new(jobs),
                    unreadable,
                    refreshed_at: Some(self.clock.now()),
                    error: None,
                };
                Ok(())
            }
            Err(error) => {
                snapshot.error = Some(describe(&error));
                Err(error)
            }
        };
        drop(snapshot);
        self.first_refresh.notify_waiters();
        answer
    }

    /// One job as it is in the store now, whether the list knows it yet or not.
    pub async fn job(&self, job: JobId) -> Result<Option<Entry>, SourceError> {
        match self.current().jobs.get(&job) {
            Some(entry) if self.is_settled(entry) => Ok(Some(entry.clone())),
            _ => self.read(job).await,
        }
    }

    fn current(&self) -> Snapshot {
        self.snapshot.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    async fn read_changed(
        &self,
        known: &BTreeMap<JobId, Entry>,
    ) -> Result<(BTreeMap<JobId, Entry>, usize), SourceError> {
        let ids: BTreeSet<JobId> = self.source.jobs().await?.into_iter().collect();
        let mut jobs = BTreeMap::new();
        let mut changed = Vec::new();
        for id in ids {
            match known.get(&id) {
                Some(entry) if self.is_settled(entry) => drop(jobs.insert(id, entry.clone())),
                _ => changed.push(id),
            }
        }
        let groups: Vec<Vec<JobId>> = changed.chunks(GROUP_JOBS).map(<[JobId]>::to_vec).collect();
        let mut reads =
            futures::stream::iter(groups).map(|group| self.read_group(group)).buffer_unordered(GROUPS_MAX);
        let mut unreadable = 0;
        while let Some(group) = reads.next().await {
            for (id, entry) in group {
                match entry.or_else(|| known.get(&id).cloned()) {
                    Some(entry) => drop(jobs.insert(id, entry)),
                    None => unreadable += 1,
                }
            }
        }
        Ok((jobs, unreadable))
    }

    /// Whether what is known of the job cannot have changed.
    fn is_settled(&self, entry: &Entry) -> bool {
        match entry.state {
            JobState::Lost if entry.summary.state != JobState::Lost => {
                self.clock.now() - entry.checked_at < LOST_RECHECK
            }
            state => state.is_terminal(),
        }
    }

    /// Jobs that cannot be read come back without an entry.
    async fn read_group(&self, jobs: Vec<JobId>) -> Vec<(JobId, Option<Entry>)> {
        let mut entries = Vec::with_capacity(jobs.len());
        for (job, summary) in self.source.summaries(jobs).await {
            let entry = match summary {
                Ok(summary) => self.entry(job, summary.as_deref()).await,
                Err(error) => Err(error),
            };
            let entry = entry.unwrap_or_else(|error| {
                tracing::warn!(%job, error = describe(&error), "cannot read job");
                None
            });
            entries.push((job, entry));
        }
        entries
    }

    async fn read(&self, job: JobId) -> Result<Option<Entry>, SourceError> {
        match self.source.summaries(vec![job]).await.pop() {
            Some((_, summary)) => self.entry(job, summary?.as_deref()).await,
            None => Ok(None),
        }
    }

    /// A job without a readable summary is summarised from its log.
    async fn entry(&self, job: JobId, summary: Option<&[u8]>) -> Result<Option<Entry>, SourceError> {
        let parsed = summary.and_then(|bytes| serde_json::from_slice::<Summary>(bytes).ok());
        let summary = match parsed.filter(|summary| summary.job == job) {
            Some(summary) => summary,
            None => match self.summarise_log(job).await? {
                Some(summary) => summary,
                None => return Ok(None),
            },
        };
        let state = self.judge(job, &summary).await?;
        Ok(Some(Entry { summary: Arc::new(summary), state, checked_at: self.clock.now() }))
    }

    async fn summarise_log(&self, job: JobId) -> Result<Option<Summary>, SourceError> {
        let Some(replay) = self.logs.open(job).await? else { return Ok(None) };
        let replay = replay.lock().await;
        Ok(crate::view::summary_of(job, replay.model()))
    }

    /// An unfinished job is alive while its summary or its newest segment is young.
    async fn judge(&self, job: JobId, summary: &Summary) -> Result<JobState, SourceError> {
        let now = self.clock.now();
        let is_stale = |at_ms: i64| now - Timestamp::from_millis(at_ms) > self.lost_after;
        if summary.state.is_terminal() || !is_stale(summary.updated_at_ms) {
            return Ok(summary.state);
        }
        match self.source.last_write_ms(job).await? {
            Some(at_ms) if !is_stale(at_ms) => Ok(summary.state),
            // The end may be in the log although the summary was not written any more.
            _ => Ok(self.state_in_log(job).await?.unwrap_or(JobState::Lost)),
        }
    }

    async fn state_in_log(&self, job: JobId) -> Result<Option<JobState>, SourceError> {
        let Some(replay) = self.logs.open(job).await? else { return Ok(None) };
        let state = replay.lock().await.model().state();
        Ok(state.is_terminal().then_some(state))
    }
}

/// An error with its causes on one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
