//! What an operator may set about an executor.

use std::{path::PathBuf, time::Duration};

use penstock_common::{bytes::ByteSize, net::tls::TlsFiles};
use serde::{Deserialize, Serialize};

/// The `[executor]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name within the cluster; the same after a restart. Empty: host name and process id.
    pub name: String,
    /// `host:port` of the coordinator's gRPC service. Default `127.0.0.1:7071`.
    pub coordinator_addr: String,
    /// `host:port` of `/healthz`, `/readyz` and `/metrics`. Port 0 picks a free one. Default `127.0.0.1:0`.
    pub http_addr: String,
    /// Attempts that run at the same time. 0: one for each core. Default 0.
    pub slots: u32,
    /// Threads for query work, apart from those for network and heartbeats. 0: one for each core. Default 0.
    pub cpu_threads: usize,
    /// Memory that the whole process is meant to stay within. 0: 60 % of what the machine or container has. Default 0.
    pub memory: ByteSize,
    /// Folder for spill files; each executor makes, and at its end removes, a folder of its own in it.
    /// Default `penstock-state/scratch`.
    pub scratch_dir: PathBuf,
    /// Bytes of spill files at any one time. Default 64 GiB.
    pub scratch_quota: ByteSize,
    /// How long running attempts get to end when the executor is told to stop, in seconds. Default 30.
    pub drain_seconds: u64,
    /// Milliseconds without any sign of life after which a shuffle worker that owes an answer is left for the one that has the
    /// second copy. Longer for whoever did so before. Default 1000.
    pub shuffle_silence_ms: u64,
    /// Milliseconds for which tasks call the shuffle workers that have what they read in turn, before it counts as lost: one of them
    /// may be starting again. Default 10000.
    pub shuffle_absence_ms: u64,
    /// Certificates for talking to the shuffle service. Off while nothing is set.
    pub shuffle_tls: TlsFiles,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            coordinator_addr: "127.0.0.1:7071".to_owned(),
            http_addr: "127.0.0.1:0".to_owned(),
            slots: 0,
            cpu_threads: 0,
            memory: ByteSize(0),
            scratch_dir: PathBuf::from("penstock-state/scratch"),
            scratch_quota: ByteSize::gib(64),
            drain_seconds: 30,
            shuffle_silence_ms: 1_000,
            shuffle_absence_ms: 10_000,
            shuffle_tls: TlsFiles::default(),
        }
    }
}

/// A value that no executor could run with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("executor.{key}: {problem}")]
pub struct InvalidConfig {
    pub key: &'static str,
    pub problem: &'static str,
}

/// Below this the windows of the shuffle client leave nothing for operators.
const MEMORY_MIN: ByteSize = ByteSize::mib(64);
const SLOTS_MAX: u32 = 4096;

impl Config {
    /// Refuses values that would only fail later, and less clearly.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let memory_too_small = self.memory != ByteSize(0) && self.memory < MEMORY_MIN;
        let rules = [
            (self.coordinator_addr.is_empty(), "coordinator_addr", "must be `host:port`"),
            (self.slots > SLOTS_MAX, "slots", "must be at most 4096"),
            (memory_too_small, "memory", "must be at least 64MiB, or 0 for a share of the machine's"),
            (self.scratch_dir.as_os_str().is_empty(), "scratch_dir", "must name a folder"),
            (self.shuffle_silence_ms < 500, "shuffle_silence_ms", "must be at least 500"),
            (self.name.contains('/'), "name", "must not contain `/`: it also names a folder"),
        ];
        match rules.into_iter().find(|(broken, ..)| *broken) {
            Some((_, key, problem)) => Err(InvalidConfig { key, problem }),
            None => Ok(()),
        }
    }

    pub fn drain_deadline(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// Slots with the default filled in.
    pub fn slots(&self) -> u32 {
        match self.slots {
            0 => u32::try_from(cores()).unwrap_or(SLOTS_MAX),
            slots => slots,
        }
    }

    /// Threads with the default filled in.
    pub fn cpu_threads(&self) -> usize {
        match self.cpu_threads {
            0 => cores(),
            threads => threads,
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_value_that_cannot_work_is_refused_by_name() {
        let key = |config: Config| config.validate().map_err(|error| error.key);
        assert_eq!(key(Config { memory: ByteSize::mib(1), ..Config::default() }), Err("memory"));
        assert_eq!(key(Config { name: "../x".to_owned(), ..Config::default() }), Err("name"));
        assert_eq!(key(Config { scratch_dir: PathBuf::new(), ..Config::default() }), Err("scratch_dir"));
    }
}
