//! A worker's settings.

mod defaults;
mod kinds;
mod rules;
mod shown;

use std::path::PathBuf;

use penstock_common::{bytes::ByteSize, config, machine, net::tls::TlsFiles};
use serde::{Deserialize, Serialize};

pub(super) use self::kinds::Durability;
pub use self::{
    kinds::{DiskClass, DiskConfig, EvictFirst, Fsync, Tier},
    rules::InvalidConfig,
};

use self::defaults::share_of;
use crate::disk::Writes;

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
    /// What this worker is for. A job that asks for tags is only placed on workers that have all of them. Can change at run
    /// time.
    pub tags: Vec<String>,
    /// Its share of new partitions against that of other workers. Can change at run time.
    pub weight: u32,
    /// Folders for data that does not fit into memory, best on different disks of one kind. Each holds a folder with this
    /// worker's name.
    pub data_dirs: Vec<PathBuf>,
    /// In place of `data_dirs`, disks that differ: tables with `path`, `class` (`nvme`, `ssd` or `hdd`), `quota` (bytes that
    /// this worker may use there, 0 for all) and `reserve` (in place of `disk_reserve_bytes`). Quotas and reserves can change at
    /// run time, paths and classes cannot.
    pub disks: Vec<DiskConfig>,
    /// Memory that the whole process is meant to stay within: 64 MiB for itself, or half of it if that is less, the rest for
    /// stored data and incoming frames. Pushes wait when it is used up. 0: a tenth of what the machine or container has, at
    /// least 512 MiB if that is not more than half of it.
    pub memory_bytes_max: ByteSize,
    /// Percent of the memory at which data begins to move to disk, largest partitions first. Can change at run time.
    pub flush_from_percent: u8,
    /// Percent of the memory at which it stops again. Can change at run time.
    pub flush_to_percent: u8,
    /// Files that are written at the same time. Can change at run time.
    pub flush_parallelism: usize,
    /// Which way data takes to the disks: `cached` (through the operating system's page cache, from which it is read fast as
    /// long as it is there) or `direct` (past it: cheaper to write, for workers that keep much more than fits in there). Where a
    /// file system takes nothing past the cache, data goes through it.
    pub disk_writes: Writes,
    /// Bytes of each disk that stay free. Can change at run time.
    pub disk_reserve_bytes: ByteSize,
    /// Milliseconds between two looks at a disk: a small file is written and read back, and the free bytes are measured.
    /// Can change at run time.
    pub disk_probe_interval_ms: u64,
    /// Milliseconds after which a call to a disk counts as hanging: nothing new goes there until it ends. Can change at run
    /// time.
    pub disk_hang_ms: u64,
    /// Failed calls after which nothing new goes to a disk. Each probe that works takes one off. Can change at run time.
    pub disk_errors_max: u32,
    /// Object store below the disks: an OpenDAL URL such as `s3://bucket/folder`, or a folder that all disks' data fits in.
    /// Empty: none. Each worker uses a folder with its name.
    pub object_store: String,
    /// Milliseconds that one call to the object store may take before it is tried again, which it is three times. What is
    /// written goes in calls of 8 MiB; a read with all of its tries has about that time.
    pub object_store_timeout_ms: u64,
    /// Where new data goes: `memory` (out of it when memory runs short, to the disks or, if they take nothing, to the
    /// object store), `disk` (the same, but at once) or `object` (at once to the object store). Can change at run time.
    pub create_in: Tier,
    /// Percent of what this worker may use of a disk at which committed data begins to move to the object store. Can change
    /// at run time.
    pub evict_from_percent: u8,
    /// Percent at which it stops again. Can change at run time.
    pub evict_to_percent: u8,
    /// What moves first: `oldest` (jobs) or `largest` (partitions). Can change at run time.
    pub evict_first: EvictFirst,
    /// Whether a restart goes on with what was committed. If not, the folders are emptied at start.
    pub keep_data: bool,
    /// What survives a loss of power or a kill: `none` (what had left memory, as far as it is provably whole), `commit`
    /// (what was committed is written and synced before the commit is answered) or `batch` (as `commit`, and each write to
    /// a disk is synced by itself, so that less is left to do for the commit). A stop in order keeps everything committed
    /// in any case. Can change at run time.
    pub fsync: Fsync,
    /// Locations that may be reserved at the same time. Can change at run time.
    pub locations_max: usize,
    /// Bytes of one location from which clients are asked to go on in a new one, so that no file grows without end. Can
    /// change at run time.
    pub split_from_bytes: ByteSize,
    /// Data connections that may be open at the same time. Can change at run time.
    pub connections_max: usize,
    /// Whether processes of this host and user push and fetch past the network, over a Unix socket, and read what lies on
    /// this host's disks themselves. Never with TLS.
    pub short_circuit: bool,
    /// Milliseconds that a commit waits for writes in progress before the location fails. Can change at run time.
    pub commit_timeout_ms: u64,
    /// Seconds for which a worker that is asked to stop (SIGTERM) waits for the commits of what it has taken, or, with
    /// `keep_data = false`, until everything is released. Writers go on elsewhere meanwhile. 0: it stops at once. Can
    /// change at run time.
    pub drain_seconds: u64,
    /// Milliseconds without any sign of life after which a worker that owes an answer about a second copy is given up: what is
    /// written goes on elsewhere. Workers show four times a second that they are alive.
    pub silence_ms: u64,
    /// Milliseconds between reports to a master until it says otherwise; at most 1000 count.
    pub heartbeat_interval_ms: u64,
    /// File with the secret that coordinator, masters and workers of a cluster share. With it, data of a job is only taken
    /// from and given to those who show the job's token, and control calls and orders are taken only from those who know the
    /// secret. Empty: everybody may.
    pub cluster_secret_file: PathBuf,
    /// Certificates for control calls and data. Off while nothing is set.
    pub tls: TlsFiles,
    /// Which log lines are written, such as `warn,penstock_shuffle_service=debug`. Empty: as the process was started
    /// (`PENSTOCK_LOG`). Can change at run time.
    pub log_filter: String,
}

impl Config {
    /// Settings that can change at run time. All others are read once, at start.
    const CHANGEABLE: [&'static str; 21] = [
        "tags",
        "weight",
        "disks",
        "flush_from_percent",
        "flush_to_percent",
        "flush_parallelism",
        "disk_reserve_bytes",
        "disk_probe_interval_ms",
        "disk_hang_ms",
        "disk_errors_max",
        "create_in",
        "evict_from_percent",
        "evict_to_percent",
        "evict_first",
        "fsync",
        "locations_max",
        "split_from_bytes",
        "connections_max",
        "commit_timeout_ms",
        "drain_seconds",
        "log_filter",
    ];

    /// What of `wanted` cannot replace this at run time.
    pub(super) fn fixed_against(&self, wanted: &Self) -> Vec<String> {
        let layout = |config: &Self| -> Vec<_> {
            config.disks.iter().map(|disk| (disk.path.clone(), disk.class)).collect()
        };
        let is_same_layout = layout(self) == layout(wanted);
        let may_change = |key: &str| Self::CHANGEABLE.contains(&key) && (key != "disks" || is_same_layout);
        config::keys(self).into_iter().filter(|key| !may_change(key)).collect()
    }

    /// The disks, whichever way they are named.
    pub fn disks(&self) -> Vec<DiskConfig> {
        if !self.disks.is_empty() {
            return self.disks.clone();
        }
        let plain = |path: &PathBuf| DiskConfig { path: path.clone(), ..DiskConfig::default() };
        self.data_dirs.iter().map(plain).collect()
    }

    /// The percents between which memory is kept: what may not rest there leaves it as soon as there is enough to write.
    pub(super) fn memory_marks(&self) -> (u8, u8) {
        match self.create_in {
            Tier::Memory => (self.flush_from_percent, self.flush_to_percent),
            Tier::Disk | Tier::Object => (5, 0),
        }
    }

    /// Bytes of memory, whether somebody said so or not.
    pub(super) fn memory_bytes(&self) -> u64 {
        match self.memory_bytes_max.as_u64() {
            0 => share_of(machine::memory()),
            bytes => bytes,
        }
    }

    pub(super) fn durability(&self) -> Durability {
        Durability { keep: self.keep_data, fsync: self.fsync }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use penstock_common::config::load_with_env;

    use super::*;

    fn load(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("penstock.toml");
        std::fs::write(&file, text).unwrap();
        load_with_env("shuffle-worker", Some(&file), [], &BTreeMap::new()).unwrap().value
    }

    #[test]
    fn disks_that_differ_are_named_one_by_one() {
        let config = load(
            r#"
            [shuffle-worker]
            fsync = "commit"
            [[shuffle-worker.disks]]
            path = "/mnt/nvme0"
            class = "nvme"
            quota = "200GiB"
            reserve = "10GiB"
            [[shuffle-worker.disks]]
            path = "/mnt/hdd0"
            class = "hdd"
            "#,
        );
        assert_eq!(config.validate(), Ok(()));
        let nvme = DiskConfig {
            path: "/mnt/nvme0".into(),
            class: DiskClass::Nvme,
            quota: ByteSize::gib(200),
            reserve: Some(ByteSize::gib(10)),
        };
        let hdd = DiskConfig { path: "/mnt/hdd0".into(), class: DiskClass::Hdd, ..DiskConfig::default() };
        assert_eq!(config.disks(), [nvme, hdd]);
    }

    #[test]
    fn what_can_change_at_run_time_says_so_in_its_description() {
        let mut described = Vec::new();
        let mut text = String::new();
        for line in include_str!("config.rs").lines().take_while(|line| *line != "}") {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix("///") {
                text += comment;
            } else if let Some((field, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':'))
                && (std::mem::take(&mut text).contains("an change at run time") || field == "disks")
            {
                described.push(field);
            }
        }
        let mut changeable = Config::CHANGEABLE.to_vec();
        described.sort_unstable();
        changeable.sort_unstable();
        assert_eq!(described, changeable);
    }
}
