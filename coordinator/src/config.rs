//! What an operator may set about a coordinator.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use penstock_common::net::tls::TlsFiles;
use serde::{Deserialize, Serialize};

use crate::{coordinator::Options, executors::ExecutorLimits, job::Limits};

/// The `[coordinator]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `host:port` of REST, `/metrics` and `/healthz`. Port 0 picks a free one. Default `127.0.0.1:7070`.
    pub rest_addr: String,
    /// `host:port` of gRPC for executors and of Arrow Flight for clients. Default `127.0.0.1:7071`.
    pub grpc_addr: String,
    /// The address that links in answers start with. Empty: `http://` and the bound REST address.
    pub public_url: String,
    /// Where the history server is, for links in answers. Empty: no link.
    pub history_url: String,
    /// Folder of job records, catalog and the spool of the event log. Default `penstock-state/coordinator`.
    pub state_dir: PathBuf,
    /// Root of the event logs: a folder or an OpenDAL URL such as `s3://bucket/penstock/events`. Empty: `events` in the
    /// state folder.
    pub event_log: String,
    /// URL or folder under which tables without a location are stored. Empty: `warehouse` in the state folder.
    pub warehouse: String,
    /// `host:port` of each shuffle master, tried in order. Default `127.0.0.1:7072`.
    pub shuffle_masters: Vec<String>,
    /// Seconds for which a job that needs room in the shuffle service, or a commit, waits for it before it fails.
    /// Default 60.
    pub shuffle_wait_seconds: u64,
    /// Shuffle workers that keep each piece of shuffled data: 1, or 2 to lose nothing with one worker. Two need twice the
    /// network and room between executors and workers. Default 1.
    pub shuffle_copies: u32,
    /// Milliseconds without any sign of life after which a shuffle worker is left for another one that can do the same.
    /// Default 1000.
    pub shuffle_silence_ms: u64,
    /// Milliseconds for which the shuffle workers that have a result are called in turn before the result counts as lost: one of them
    /// may be starting again. Default 10000.
    pub shuffle_absence_ms: u64,
    /// Settings that every job starts from, below its own.
    pub settings: BTreeMap<String, String>,
    /// How often an executor reports, in milliseconds. Default 1000.
    pub heartbeat_interval_ms: u64,
    /// Silence after which an executor counts as lost, in milliseconds. Default 10000.
    pub executor_timeout_ms: u64,
    /// Tries of one task before its job fails. Default 4.
    pub attempts_max: u32,
    /// How often a stage may run again because its shuffle data was lost, before its job fails. Default 3.
    pub shuffle_reruns_max: u32,
    /// Seconds for which a result can be fetched after its job ended. Default 3600.
    pub results_ttl_seconds: u64,
    /// Days for which the record of an ended job is kept. Default 30.
    pub job_records_days: u32,
    /// Inline results kept in memory over all jobs; the oldest expire early beyond it. Default 256 MiB.
    pub inline_results_bytes_max: u64,
    /// Statements planned at the same time. Default 2.
    pub planning_threads: usize,
    /// Memory that planning may use for listing and statistics, in bytes. Default 1 GiB.
    pub planning_memory_bytes: u64,
    /// Largest accepted script or request body in bytes. Default 4 MiB.
    pub request_bytes_max: usize,
    /// File with the secret that coordinator and shuffle service share. Executors are told the tokens of the jobs that they
    /// work for. Empty: the shuffle service asks for none.
    pub cluster_secret_file: PathBuf,
    /// Certificates for talking to the shuffle service. Off while nothing is set.
    pub shuffle_tls: TlsFiles,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rest_addr: "127.0.0.1:7070".to_owned(),
            grpc_addr: "127.0.0.1:7071".to_owned(),
            public_url: String::new(),
            history_url: String::new(),
            state_dir: PathBuf::from("penstock-state/coordinator"),
            event_log: String::new(),
            warehouse: String::new(),
            shuffle_masters: vec!["127.0.0.1:7072".to_owned()],
            shuffle_wait_seconds: 60,
            shuffle_copies: 1,
            shuffle_silence_ms: 1_000,
            shuffle_absence_ms: 10_000,
            settings: BTreeMap::new(),
            heartbeat_interval_ms: 1_000,
            executor_timeout_ms: 10_000,
            attempts_max: 4,
            shuffle_reruns_max: 3,
            results_ttl_seconds: 3_600,
            job_records_days: 30,
            inline_results_bytes_max: 256 << 20,
            planning_threads: 2,
            planning_memory_bytes: 1 << 30,
            request_bytes_max: 4 << 20,
            cluster_secret_file: PathBuf::new(),
            shuffle_tls: TlsFiles::default(),
        }
    }
}

/// A value that no coordinator could run with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("coordinator.{key}: {problem}")]
pub struct InvalidConfig {
    pub key: &'static str,
    pub problem: &'static str,
}

impl Config {
    /// Refuses values that would only fail later, and less clearly.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let rules = [
            (self.shuffle_masters.is_empty(), "shuffle_masters", "needs at least one `host:port`"),
            (!(1..=2).contains(&self.shuffle_copies), "shuffle_copies", "must be 1 or 2"),
            (self.shuffle_silence_ms < 500, "shuffle_silence_ms", "must be at least 500"),
            (self.heartbeat_interval_ms == 0, "heartbeat_interval_ms", "must be at least 1"),
            (
                self.executor_timeout_ms < 2 * self.heartbeat_interval_ms,
                "executor_timeout_ms",
                "must be at least twice heartbeat_interval_ms, or one late heartbeat loses an executor",
            ),
            (self.attempts_max == 0, "attempts_max", "must be at least 1"),
            (self.planning_threads == 0, "planning_threads", "must be at least 1"),
            (self.state_dir.as_os_str().is_empty(), "state_dir", "must name a folder"),
        ];
        match rules.into_iter().find(|(broken, ..)| *broken) {
            Some((_, key, problem)) => Err(InvalidConfig { key, problem }),
            None => Ok(()),
        }
    }

    pub fn executor_timeout(&self) -> Duration {
        Duration::from_millis(self.executor_timeout_ms)
    }

    pub fn job_records_ttl(&self) -> Duration {
        Duration::from_secs(u64::from(self.job_records_days) * 24 * 3600)
    }

    pub fn results_ttl(&self) -> Duration {
        Duration::from_secs(self.results_ttl_seconds)
    }

    /// What the core needs to know.
    pub fn core_options(&self) -> Options {
        Options {
            limits: Limits {
                task_failures_max: self.attempts_max,
                shuffle_patience: Duration::from_secs(self.shuffle_wait_seconds),
                shuffle_reruns_max: self.shuffle_reruns_max,
                ..Limits::default()
            },
            executors: ExecutorLimits { lease: self.executor_timeout(), ..ExecutorLimits::default() },
            results_ttl: self.results_ttl(),
            ..Options::default()
        }
    }

    /// Root of the event logs, the default filled in.
    pub fn event_log_root(&self) -> String {
        or_in_state_dir(&self.event_log, self, "events")
    }

    /// Where tables without a location live, the default filled in.
    pub fn warehouse_root(&self) -> String {
        or_in_state_dir(&self.warehouse, self, "warehouse")
    }
}

fn or_in_state_dir(value: &str, config: &Config, folder: &str) -> String {
    if value.is_empty() {
        config.state_dir.join(folder).to_string_lossy().into_owned()
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_timeout_below_two_heartbeats_is_refused_by_name() {
        let config = Config { executor_timeout_ms: 1_500, ..Config::default() };
        assert_eq!(config.validate().map_err(|error| error.key), Err("executor_timeout_ms"));
    }
}
