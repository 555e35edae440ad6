//! Which jobs of the list somebody asked for. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{JobState, Summary},
    ids::JobId,
    task::FailureClass,
};

use super::Entry;

/// What to look for; an absent part matches everything.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Words that must all occur, in whatever field, letter case aside.
    pub text: Option<String>,
    pub name: Option<String>,
    pub owner: Option<String>,
    pub client: Option<String>,
    pub states: BTreeSet<JobState>,
    pub failure_class: Option<FailureClass>,
    pub labels: Vec<(String, String)>,
    /// Submitted at or after.
    pub since: Option<Timestamp>,
    /// Submitted before.
    pub until: Option<Timestamp>,
    pub sort: Sort,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Newest first.
    #[default]
    Submitted,
    /// Longest first.
    Duration,
    /// Most shuffled bytes first.
    Shuffled,
    Name,
}

/// The jobs found, in order, and how many there are of each state when the state is not asked for.
#[derive(Debug)]
pub struct Found<'a> {
    pub jobs: Vec<(JobId, &'a Entry)>,
    pub by_state: BTreeMap<JobState, usize>,
}

impl Query {
    pub fn run<'a>(&self, jobs: &'a BTreeMap<JobId, Entry>, now: Timestamp) -> Found<'a> {
        let words: Vec<String> =
            self.text.iter().flat_map(|text| text.split_whitespace()).map(str::to_lowercase).collect();
        let mut found = Found { jobs: Vec::new(), by_state: BTreeMap::new() };
        for (id, entry) in jobs.iter().rev() {
            if !self.matches(*id, entry, &words) {
                continue;
            }
            *found.by_state.entry(entry.state).or_default() += 1;
            if self.states.is_empty() || self.states.contains(&entry.state) {
                found.jobs.push((*id, entry));
            }
        }
        self.order(&mut found.jobs, now);
        found
    }

    fn matches(&self, id: JobId, entry: &Entry, words: &[String]) -> bool {
        let summary = &*entry.summary;
        let submitted = Timestamp::from_millis(summary.submitted_at_ms);
        self.since.is_none_or(|since| submitted >= since)
            && self.until.is_none_or(|until| submitted < until)
            && self.name.as_ref().is_none_or(|name| contains(&summary.name, &name.to_lowercase()))
            && self.owner.as_ref().is_none_or(|owner| summary.owner.as_ref() == Some(owner))
            && self.client.as_ref().is_none_or(|client| summary.client == *client)
            && self
                .failure_class
                .is_none_or(|class| summary.failure.as_ref().is_some_and(|failure| failure.class == class))
            && self.labels.iter().all(|(key, value)| summary.labels.get(key) == Some(value))
            && words.iter().all(|word| mentions(id, summary, word))
    }

    fn order(&self, jobs: &mut [(JobId, &Entry)], now: Timestamp) {
        match self.sort {
            Sort::Submitted => jobs.sort_by_key(|(id, entry)| Reverse((entry.summary.submitted_at_ms, *id))),
            Sort::Duration => jobs.sort_by_key(|(_, entry)| Reverse(duration_ms(entry, now))),
            Sort::Shuffled => jobs.sort_by_key(|(_, entry)| Reverse(entry.summary.totals.shuffled_bytes)),
            Sort::Name => jobs.sort_by(|(_, a), (_, b)| a.summary.name.cmp(&b.summary.name)),
        }
    }
}

/// From submission to the end; for a LOST job to its last sign of life, for a live one until now.
pub fn duration_ms(entry: &Entry, now: Timestamp) -> i64 {
    let summary = &*entry.summary;
    let end = match (summary.finished_at_ms, entry.state) {
        (Some(end), _) => end,
        (None, JobState::Lost) => summary.updated_at_ms,
        (None, _) => now.as_millis(),
    };
    (end - summary.submitted_at_ms).max(0)
}

fn mentions(id: JobId, summary: &Summary, word: &str) -> bool {
    contains(&summary.name, word)
        || id.to_string().starts_with(word)
        || summary.owner.as_ref().is_some_and(|owner| contains(owner, word))
        || summary.labels.iter().any(|(key, value)| contains(key, word) || contains(value, word))
        || summary.failure.as_ref().is_some_and(|failure| contains(&failure.message, word))
        || summary.source.as_ref().is_some_and(|source| contains(&source.to_string(), word))
        || contains(&summary.script_head, word)
}

/// `word` is lower case already.
fn contains(text: &str, word: &str) -> bool {
    if text.is_ascii() && word.is_ascii() {
        let (text, word) = (text.as_bytes(), word.as_bytes());
        return word.is_empty() || text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
    }
    text.to_lowercase().contains(word)
}
