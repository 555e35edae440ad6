//! Shuffle workers as the log of the cluster knows them, and its events in words. Pure.

use penstock_protocol::event::{ClusterEvent, ClusterRecord, DiskStanding, WorkerStanding};
use serde::Serialize;
use utoipa::ToSchema;

use super::rfc3339;

/// How current the log of the cluster is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Watched {
    /// When a shuffle master was last heard.
    pub looked_at: String,
    /// Since when and why none could be asked.
    pub silent_since: Option<String>,
    pub silent_because: Option<String>,
}

/// What a shuffle master last said of a worker.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Standing {
    /// `serving`, `suspected`, `leaving`, `draining`, `drained`, `excluded`, `silent`, `left`, …
    pub state: String,
    pub because: Option<String>,
    pub until: Option<String>,
    pub zone: String,
    pub rack: String,
    pub tags: Vec<String>,
    /// Its last report.
    pub heard_at: String,
    /// Jobs that it holds something of.
    pub jobs: u32,
    pub locations: u64,
    pub open_locations: u64,
    pub memory_used_bytes: u64,
    pub memory_limit_bytes: u64,
    /// Pushes wait for memory.
    pub paused: bool,
    /// Moving averages of microseconds for one MiB; 0 while there was nothing to do.
    pub flush_us_per_mib: u64,
    pub fetch_us_per_mib: u64,
    pub disks: Vec<Disk>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Disk {
    pub path: String,
    /// `nvme`, `ssd` or `hdd`.
    pub class: String,
    /// `HEALTHY`, `FULL`, `FAILED` or `HUNG`.
    pub state: String,
    pub used_bytes: u64,
    pub room_bytes: u64,
    pub errors: u32,
}

impl From<WorkerStanding> for Standing {
    fn from(worker: WorkerStanding) -> Self {
        Self {
            state: worker.state,
            because: Some(worker.because).filter(|because| !because.is_empty()),
            until: worker.until_ms.map(rfc3339),
            zone: worker.zone,
            rack: worker.rack,
            tags: worker.tags,
            heard_at: rfc3339(worker.heard_at_ms),
            jobs: worker.jobs,
            locations: worker.locations,
            open_locations: worker.open_locations,
            memory_used_bytes: worker.memory_used_bytes,
            memory_limit_bytes: worker.memory_limit_bytes,
            paused: worker.paused,
            flush_us_per_mib: worker.flush_us_per_mib,
            fetch_us_per_mib: worker.fetch_us_per_mib,
            disks: worker.disks.into_iter().map(Disk::from).collect(),
        }
    }
}

impl From<DiskStanding> for Disk {
    fn from(disk: DiskStanding) -> Self {
        let DiskStanding { path, class, state, used_bytes, room_bytes, errors } = disk;
        Self { path, class, state, used_bytes, room_bytes, errors }
    }
}

/// An event in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub kind: &'static str,
    pub node: String,
    pub text: String,
    /// Until when it is so, or when the machine goes.
    pub until_ms: Option<i64>,
}

/// None for what a newer version wrote.
pub(super) fn told(record: &ClusterRecord) -> Option<Told> {
    let mut until_ms = None;
    let (kind, node, text) = match &record.event {
        ClusterEvent::WorkerJoined { worker, address } => {
            ("worker_joined", worker.as_str(), format!("joined at {address}"))
        }
        ClusterEvent::WorkerRestarted { worker, address } => {
            ("worker_joined", worker.as_str(), format!("was started again at {address}"))
        }
        ClusterEvent::WorkerForgotten { worker, state } => {
            ("worker_gone", worker.as_str(), format!("is gone; it was {state}"))
        }
        ClusterEvent::WorkerChanged { worker, from, to, because, until_ms: until } => {
            until_ms = *until;
            (kind_of(to), worker.as_str(), changed(from, to, because))
        }
        ClusterEvent::DiskChanged { worker, disk, class, to, .. } => {
            let kind = if to == "HEALTHY" { "disk_healthy" } else { "disk_trouble" };
            (kind, worker.as_str(), format!("{class} disk {disk} is {to}"))
        }
        ClusterEvent::MastersSilent { reason } => ("masters_silent", "shuffle masters", reason.clone()),
        ClusterEvent::MastersAnswered {} => {
            ("masters_back", "shuffle masters", "a master answers again".to_owned())
        }
        ClusterEvent::Unknown => return None,
    };
    Some(Told { kind, node: node.to_owned(), text, until_ms })
}

fn kind_of(state: &str) -> &'static str {
    match state {
        "serving" => "worker_serving",
        "silent" => "worker_lost",
        "suspected" => "worker_trouble",
        _ => "worker_leaves",
    }
}

fn changed(from: &str, to: &str, because: &str) -> String {
    let text = match to {
        "serving" => format!("serves again; it was {from}"),
        "silent" => format!("fell silent; it was {from}"),
        "left" => "left in order".to_owned(),
        "suspected" => "failed several placements and is the last choice".to_owned(),
        "leaving" => "was told that its machine goes".to_owned(),
        "draining" => "drains: nothing new goes there".to_owned(),
        "drained" => "is drained: it holds nothing any more".to_owned(),
        "excluded" => "is excluded: nothing new goes there".to_owned(),
        other => format!("is {other}; it was {from}"),
    };
    if because.is_empty() { text } else { format!("{text} ({because})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(event: ClusterEvent) -> String {
        let told = told(&ClusterRecord { at_ms: 0, event }).expect("is told");
        format!("{}: {} {}", told.kind, told.node, told.text)
    }

    fn changed_to(to: &str, because: &str) -> String {
        let (from, to, because) = ("serving".to_owned(), to.to_owned(), because.to_owned());
        text(ClusterEvent::WorkerChanged { worker: "w0".into(), from, to, because, until_ms: None })
    }

    #[test]
    fn events_are_told_in_words() {
        assert_eq!(
            changed_to("excluded", "slow disk"),
            "worker_leaves: w0 is excluded: nothing new goes there (slow disk)"
        );
        assert_eq!(changed_to("silent", ""), "worker_lost: w0 fell silent; it was serving");
        assert_eq!(changed_to("moved", ""), "worker_leaves: w0 is moved; it was serving");
        let (worker, disk, class) = ("w0".into(), "/d".to_owned(), "nvme".to_owned());
        let (from, to) = ("HEALTHY".to_owned(), "HUNG".to_owned());
        let hung = ClusterEvent::DiskChanged { worker, disk, class, from, to };
        assert_eq!(text(hung), "disk_trouble: w0 nvme disk /d is HUNG");
        assert_eq!(told(&ClusterRecord { at_ms: 0, event: ClusterEvent::Unknown }), None);
    }
}
