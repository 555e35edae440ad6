//! What an operator can set for a history server.

use serde::{Deserialize, Serialize};

/// The `[history-server]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the server listens, as `host:port`. Port 0 takes a free one.
    pub listen: String,
    /// Folder or OpenDAL URL (`s3://bucket/path`) that holds one directory per job.
    pub event_log: String,
    /// Seconds between two looks at the store for new and changed jobs.
    pub refresh_seconds: u64,
    /// Seconds after which an unfinished job without a new summary or segment is shown as LOST. A coordinator that
    /// lives writes each job's summary every 30 seconds; with more than a thousand active jobs they take turns.
    pub lost_after_seconds: u64,
    /// Attempts, over all jobs, whose details are kept in memory; the jobs that were looked at longest ago go first.
    pub cached_attempts_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7080".to_owned(),
            event_log: "events".to_owned(),
            refresh_seconds: 2,
            lost_after_seconds: 300,
            cached_attempts_max: 400_000,
        }
    }
}

/// A value that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("history-server.{key} is {value}, and must be {must}")]
pub struct InvalidConfig {
    pub key: &'static str,
    pub value: String,
    pub must: &'static str,
}

impl Config {
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let at_least_one = |key, value: u64| {
            if value > 0 {
                Ok(())
            } else {
                Err(InvalidConfig { key, value: value.to_string(), must: "at least 1" })
            }
        };
        at_least_one("refresh_seconds", self.refresh_seconds)?;
        at_least_one("lost_after_seconds", self.lost_after_seconds)?;
        at_least_one("cached_attempts_max", self.cached_attempts_max as u64)?;
        if self.event_log.is_empty() {
            return Err(InvalidConfig {
                key: "event_log",
                value: "empty".to_owned(),
                must: "a folder or a URL such as s3://bucket/path",
            });
        }
        Ok(())
    }
}
