//! A master's settings.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use penstock_common::{bytes::ByteSize, net::tls::TlsFiles, telemetry};
use serde::{Deserialize, Serialize};

use super::{
    exclusions::Rules,
    placement::Policy,
    quotas::{Limit, Limits},
};

/// Table `[shuffle-master]` of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where workers and owners call (gRPC). Port 0 takes a free one.
    pub control_listen: String,
    /// The admin view and its calls (`/api/v1`), `/metrics` and `/healthz`. Empty: not served.
    pub admin_listen: String,
    /// Milliseconds between the reports of a worker. At most 1000, so that a new master knows all workers within 3 s.
    pub heartbeat_interval_ms: u64,
    /// Milliseconds without a report after which nothing more is placed on a worker. Can change at run time.
    pub worker_timeout_ms: u64,
    /// Milliseconds that the data of a job stays after its owner last said that it is wanted, and after this master
    /// first heard of it. Can change at run time.
    pub job_lease_ms: u64,
    /// How workers are chosen: `round-robin` by their weights, or `load` by weights, free space, memory, flush and fetch
    /// time and open locations. Can change at run time.
    pub placement: Policy,
    /// Failed placements, within `failures_window_ms`, after which a worker is the last choice for `suspicion_ms`. Can
    /// change at run time.
    pub failures_max: usize,
    /// Milliseconds for which a failed placement counts. Can change at run time.
    pub failures_window_ms: u64,
    /// Milliseconds for which a worker that fails is the last choice; up to 16 times as long if it goes on. Can change at
    /// run time.
    pub suspicion_ms: u64,
    /// Bytes that a job may hold, all copies counted; 0 for no limit. Can change at run time.
    pub job_bytes_max: ByteSize,
    /// Locations (files at most) that a job may hold; 0 for no limit. Can change at run time.
    pub job_locations_max: u64,
    /// Bytes that the jobs of a user may hold together; 0 for no limit. Can change at run time.
    pub user_bytes_max: ByteSize,
    /// Locations (files at most) that the jobs of a user may hold together; 0 for no limit. Can change at run time.
    pub user_locations_max: u64,
    /// By user name, `{ bytes, locations }` in place of the two limits above. Can change at run time.
    pub user_quotas: BTreeMap<String, Limit>,
    /// File with the secret that coordinator, masters and workers of a cluster share. With it, data of a job is only taken
    /// from and given to those who show the job's token, and control calls and orders are taken only from those who know the
    /// secret. Empty: everybody may.
    pub cluster_secret_file: PathBuf,
    /// Certificates for control calls. Off while nothing is set.
    pub tls: TlsFiles,
    /// Which log lines are written, such as `warn,penstock_shuffle_service=debug`. Empty: as the process was started
    /// (`PENSTOCK_LOG`). Can change at run time.
    pub log_filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            control_listen: "127.0.0.1:7072".to_owned(),
            admin_listen: "127.0.0.1:7073".to_owned(),
            heartbeat_interval_ms: 1000,
            worker_timeout_ms: 5000,
            job_lease_ms: 600_000,
            placement: Policy::RoundRobin,
            failures_max: 3,
            failures_window_ms: 60_000,
            suspicion_ms: 60_000,
            job_bytes_max: ByteSize(0),
            job_locations_max: 0,
            user_bytes_max: ByteSize(0),
            user_locations_max: 0,
            user_quotas: BTreeMap::new(),
            cluster_secret_file: PathBuf::new(),
            tls: TlsFiles::default(),
            log_filter: String::new(),
        }
    }
}

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting `{setting}` of the shuffle master {problem}")]
pub struct InvalidConfig {
    pub setting: &'static str,
    pub problem: &'static str,
}

impl Config {
    /// Settings that are read once, at start. The others can change at run time.
    pub const FIXED: [&'static str; 5] =
        ["control_listen", "admin_listen", "heartbeat_interval_ms", "cluster_secret_file", "tls"];

    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let rules = [
            ("heartbeat_interval_ms", self.heartbeat_interval_ms > 0, "must be at least 1"),
            (
                "heartbeat_interval_ms",
                self.heartbeat_interval_ms <= 1000,
                "must be at most 1000: a master that takes over learns from reports",
            ),
            (
                "worker_timeout_ms",
                self.worker_timeout_ms > self.heartbeat_interval_ms,
                "must be more than `heartbeat_interval_ms`",
            ),
            (
                "job_lease_ms",
                self.job_lease_ms > self.worker_timeout_ms,
                "must be more than `worker_timeout_ms`",
            ),
            ("failures_max", self.failures_max > 0, "must be at least 1"),
            ("log_filter", telemetry::is_log_filter(&self.log_filter), "is not a log filter"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((setting, _, problem)) => Err(InvalidConfig { setting, problem }),
            None => Ok(()),
        }
    }

    pub(super) fn worker_timeout(&self) -> Duration {
        Duration::from_millis(self.worker_timeout_ms)
    }

    pub(super) fn job_lease(&self) -> Duration {
        Duration::from_millis(self.job_lease_ms)
    }

    pub(super) fn exclusion_rules(&self) -> Rules {
        Rules {
            failures: self.failures_max,
            window: Duration::from_millis(self.failures_window_ms),
            suspicion: Duration::from_millis(self.suspicion_ms),
        }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            job: Limit { bytes: self.job_bytes_max, locations: self.job_locations_max },
            user: Limit { bytes: self.user_bytes_max, locations: self.user_locations_max },
            users: self.user_quotas.clone(),
        }
    }
}
