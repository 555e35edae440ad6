//! A master's settings.

use std::path::PathBuf;

use penstock_common::net::tls::TlsFiles;
use serde::{Deserialize, Serialize};

/// Table `[shuffle-master]` of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where workers and owners call (gRPC). Port 0 takes a free one.
    pub control_listen: String,
    /// `/metrics`, `/healthz` and `/api/v1/workers`. Empty: not served.
    pub admin_listen: String,
    /// Milliseconds between the reports of a worker.
    pub heartbeat_interval_ms: u64,
    /// Milliseconds without a report after which nothing more is placed on a worker.
    pub worker_timeout_ms: u64,
    /// Milliseconds that the data of a job stays after its owner last said that it is wanted, and after this master
    /// first heard of it.
    pub job_lease_ms: u64,
    /// File with the secret that coordinator, masters and workers of a cluster share. With it, data of a job is only taken
    /// from and given to those who show the job's token, and control calls only those who know the secret. Empty: everybody
    /// may.
    pub cluster_secret_file: PathBuf,
    /// Certificates for control calls. Off while nothing is set.
    pub tls: TlsFiles,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            control_listen: "127.0.0.1:7072".to_owned(),
            admin_listen: "127.0.0.1:7073".to_owned(),
            heartbeat_interval_ms: 1000,
            worker_timeout_ms: 5000,
            job_lease_ms: 600_000,
            cluster_secret_file: PathBuf::new(),
            tls: TlsFiles::default(),
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
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let rules = [
            ("heartbeat_interval_ms", self.heartbeat_interval_ms > 0, "must be at least 1"),
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
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((setting, _, problem)) => Err(InvalidConfig { setting, problem }),
            None => Ok(()),
        }
    }
}
