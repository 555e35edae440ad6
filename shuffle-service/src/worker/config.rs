//! A worker's settings.

use std::path::PathBuf;

use penstock_common::bytes::ByteSize;
use serde::{Deserialize, Serialize};

/// Table `[shuffle-worker]` of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Stable name within the cluster: letters, digits, `-`, `_` and `.`. Empty: `worker-<data port>`.
    pub name: String,
    /// Where the owner calls (gRPC). Port 0 takes a free one.
    pub control_listen: String,
    /// Where batches are pushed and fetched (framed TCP). Port 0 takes a free one.
    pub data_listen: String,
    /// The admin view and its calls (`/api/v1`), `/metrics` and `/healthz`. Empty: not served.
    pub admin_listen: String,
    /// Host under which others reach this worker. Empty: the address it listens on.
    pub advertise_host: String,
    /// `host:port` of the masters' control services.
    pub masters: Vec<String>,
    /// Zone that this worker stands in, such as `eu-1a`. The copies of a partition go to different zones if there are
    /// several, else to different racks, else to different hosts.
    pub zone: String,
    /// Rack that this worker stands in, within its zone.
    pub rack: String,
    /// What this worker is for. A job that asks for tags is only placed on workers that have all of them.
    pub tags: Vec<String>,
    /// Its share of new partitions against that of other workers.
    pub weight: u32,
    /// Folders for data that does not fit into memory, best on different disks. Each holds a folder with this worker's
    /// name, which is emptied at start.
    pub data_dirs: Vec<PathBuf>,
    /// Memory that the whole process is meant to stay within: 64 MiB for itself, or half of it if that is less, the rest for
    /// stored data and incoming frames. Pushes wait when it is used up.
    pub memory_bytes_max: ByteSize,
    /// Percent of the memory at which data begins to move to disk, largest partitions first.
    pub flush_from_percent: u8,
    /// Percent of the memory at which it stops again.
    pub flush_to_percent: u8,
    /// Files that are written at the same time.
    pub flush_parallelism: usize,
    /// Bytes of each disk that stay free.
    pub disk_reserve_bytes: ByteSize,
    /// Locations that may be reserved at the same time.
    pub locations_max: usize,
    /// Data connections that may be open at the same time.
    pub connections_max: usize,
    /// Milliseconds that a commit waits for writes in progress before the location fails.
    pub commit_timeout_ms: u64,
    /// Milliseconds between reports to a master until it says otherwise; at most 1000 count.
    pub heartbeat_interval_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            control_listen: "127.0.0.1:0".to_owned(),
            data_listen: "127.0.0.1:0".to_owned(),
            admin_listen: "127.0.0.1:0".to_owned(),
            advertise_host: String::new(),
            masters: vec!["127.0.0.1:7072".to_owned()],
            zone: String::new(),
            rack: String::new(),
            tags: Vec::new(),
            weight: 100,
            data_dirs: vec![std::env::temp_dir().join("penstock-shuffle")],
            memory_bytes_max: ByteSize::mib(512),
            flush_from_percent: 70,
            flush_to_percent: 50,
            flush_parallelism: 4,
            disk_reserve_bytes: ByteSize::mib(256),
            locations_max: 1_000_000,
            connections_max: 4096,
            commit_timeout_ms: 30_000,
            heartbeat_interval_ms: 1000,
        }
    }
}

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting `{setting}` of the shuffle worker {problem}")]
pub struct InvalidConfig {
    pub setting: &'static str,
    pub problem: &'static str,
}

/// Less than this and a single frame could not get in.
const MEMORY_BYTES_MIN: u64 = 8 << 20;

impl Config {
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let rules = [
            (
                "name",
                self.name.chars().all(allowed) && !self.name.starts_with('.'),
                "may only hold letters, digits, `-`, `_` and `.`, and not begin with `.`",
            ),
            ("masters", !self.masters.is_empty(), "must name at least one master"),
            ("data_dirs", !self.data_dirs.is_empty(), "must name at least one folder"),
            ("memory_bytes_max", self.memory_bytes_max.as_u64() >= MEMORY_BYTES_MIN, "must be at least 8MiB"),
            (
                "flush_to_percent",
                self.flush_to_percent < self.flush_from_percent,
                "must be less than `flush_from_percent`",
            ),
            ("flush_from_percent", self.flush_from_percent <= 95, "must be at most 95"),
            ("flush_parallelism", self.flush_parallelism > 0, "must be at least 1"),
            ("weight", self.weight > 0, "must be at least 1"),
            ("connections_max", self.connections_max > 0, "must be at least 1"),
            ("heartbeat_interval_ms", self.heartbeat_interval_ms > 0, "must be at least 1"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((setting, _, problem)) => Err(InvalidConfig { setting, problem }),
            None => Ok(()),
        }
    }
}
