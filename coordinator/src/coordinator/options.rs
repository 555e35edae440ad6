//! What an operator may set about the core.

use std::{collections::BTreeMap, time::Duration};

use crate::{executors::ExecutorLimits, job::Limits};

/// The queue of jobs that name none.
pub const DEFAULT_QUEUE: &str = "default";

#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub limits: Limits,
    pub executors: ExecutorLimits,
    /// By name; the default queue is always there.
    pub queues: BTreeMap<String, QueueOptions>,
    /// Slots that the jobs of one owner may hold together.
    pub user_slots_max: u32,
    /// Jobs of one owner that may run at the same time.
    pub user_jobs_max: u32,
    /// Jobs that are queued or running; more are refused.
    pub active_jobs_max: usize,
    /// A job that waits so long without any slot goes before every priority.
    pub starved_after: Duration,
    /// How long results stay after their job ended.
    pub results_ttl: Duration,
    /// How long the details of a job without results stay in memory after it ended.
    pub details_ttl: Duration,
    /// Ended jobs in memory; the ones to expire next go first, with their results.
    pub ended_jobs_max: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct QueueOptions {
    /// Share of the slots relative to the other queues; at least 1.
    pub weight: u32,
    pub slots_max: u32,
    /// Jobs that may run at the same time; more wait.
    pub jobs_max: u32,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { weight: 1, slots_max: u32::MAX, jobs_max: 100 }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            executors: ExecutorLimits::default(),
            queues: BTreeMap::new(),
            user_slots_max: u32::MAX,
            user_jobs_max: u32::MAX,
            active_jobs_max: 10_000,
            starved_after: Duration::from_secs(30),
            results_ttl: Duration::from_secs(3600),
            details_ttl: Duration::from_secs(600),
            ended_jobs_max: 2_000,
        }
    }
}
