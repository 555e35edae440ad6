//! A disk as the admin views of masters and workers show it.

use penstock_protocol::pb;
use serde::Serialize;

/// One disk of a worker.
#[derive(Debug, Serialize)]
pub(crate) struct DiskView {
    path: String,
    /// `nvme`, `ssd` or `hdd`.
    class: String,
    /// `HEALTHY`, `FULL`, `FAILED` or `HUNG`: only the first takes new data.
    state: String,
    used_bytes: u64,
    room_bytes: u64,
    queued_bytes: u64,
    errors: u32,
}

impl DiskView {
    pub fn of(disk: &pb::DiskUsage) -> Self {
        Self {
            path: disk.path.clone(),
            class: disk.class.clone(),
            state: disk.state.clone(),
            used_bytes: disk.used_bytes,
            room_bytes: disk.room_bytes,
            queued_bytes: disk.queued_bytes,
            errors: disk.errors,
        }
    }
}
