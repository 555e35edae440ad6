//! The log of the cluster: how each shuffle worker stands, and what happened to them, whether a job met them or not.
//!
//! One object beside the logs of jobs, written as a whole: states and events never contradict each other, and it stays
//! small by itself. Readers ignore unknown fields and events, as everywhere in the event log.

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, WorkerId};

/// Where it lies below the root of the event logs.
pub const CLUSTER_LOG_PATH: &str = "cluster-log.json";
/// Events that it holds, the newest.
pub const CLUSTER_EVENTS_MAX: usize = 1000;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClusterLog {
    /// [`super::SCHEMA_VERSION`] of the writer.
    pub v: u32,
    /// When a master was heard last. Old: the coordinator or all masters are gone, and nobody knows what is now.
    #[serde(default)]
    pub looked_at_ms: i64,
    /// Why no master could be asked, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<MastersSilent>,
    /// By name.
    #[serde(default)]
    pub workers: Vec<WorkerStanding>,
    /// Oldest first.
    #[serde(default)]
    pub events: Vec<ClusterRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MastersSilent {
    pub since_ms: i64,
    pub reason: String,
}

/// A shuffle worker as a master last spoke of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStanding {
    pub worker: WorkerId,
    pub incarnation: Incarnation,
    /// `host:port` of its data plane.
    pub address: String,
    /// In the words of the master's admin view: `serving`, `draining`, `silent`, …
    pub state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub because: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rack: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its last report to the master.
    pub heard_at_ms: i64,
    #[serde(default)]
    pub jobs: u32,
    #[serde(default)]
    pub locations: u64,
    #[serde(default)]
    pub open_locations: u64,
    #[serde(default)]
    pub memory_used_bytes: u64,
    #[serde(default)]
    pub memory_limit_bytes: u64,
    /// Pushes wait for memory.
    #[serde(default)]
    pub paused: bool,
    /// Moving averages; 0 while nothing was written to a disk or read by anybody.
    #[serde(default)]
    pub flush_us_per_mib: u64,
    #[serde(default)]
    pub fetch_us_per_mib: u64,
    #[serde(default)]
    pub disks: Vec<DiskStanding>,
    /// Since when no master has spoken of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_since_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStanding {
    pub path: String,
    /// `nvme`, `ssd` or `hdd`.
    pub class: String,
    /// `HEALTHY`, `FULL`, `FAILED` or `HUNG`.
    pub state: String,
    pub used_bytes: u64,
    /// What it still takes, reserve and quota considered.
    pub room_bytes: u64,
    #[serde(default)]
    pub errors: u32,
}

/// One event, by the coordinator's clock: when it was noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    pub at_ms: i64,
    #[serde(flatten)]
    pub event: ClusterEvent,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClusterEvent {
    WorkerJoined {
        worker: WorkerId,
        address: String,
    },
    /// A new life under the same name.
    WorkerRestarted {
        worker: WorkerId,
        address: String,
    },
    WorkerChanged {
        worker: WorkerId,
        from: String,
        to: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        because: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_ms: Option<i64>,
    },
    /// No master knows it any more.
    WorkerForgotten {
        worker: WorkerId,
        /// How it stood last.
        state: String,
    },
    DiskChanged {
        worker: WorkerId,
        disk: String,
        class: String,
        from: String,
        to: String,
    },
    MastersSilent {
        reason: String,
    },
    MastersAnswered {},
    /// Written by a newer version.
    #[serde(other)]
    Unknown,
}
