//! What this worker holds and how it fares, for its reports.

use std::collections::BTreeMap;

use penstock_protocol::{ids::JobId, pb, wire::common::job_bytes};

use super::{disks::DiskReport, memory::MemoryState, store::Store, write_out::Named};
use crate::metrics;

/// All jobs, what each holds, and the worker as a whole.
pub(super) fn of(store: &Store) -> (Vec<bytes::Bytes>, Vec<pb::JobUsage>, pb::WorkerUsage) {
    let held = store.jobs();
    store.jobs_known.retain(&held);
    let (mut by_job, mut usage): (BTreeMap<JobId, pb::JobUsage>, _) = Default::default();
    add_locations(store, &mut by_job, &mut usage);
    let disks = store.disks.reports();
    usage.disk_free_bytes = disks.iter().fold(0, |sum, disk| sum.saturating_add(disk.room_bytes));
    usage.disk_used_bytes = disks.iter().map(|disk| disk.used_bytes).sum();
    usage.disks = disks.into_iter().map(Into::into).collect();
    usage.memory_used_bytes = store.budget.used();
    usage.memory_limit_bytes = store.budget.bytes_max();
    usage.paused = store.budget.state() == MemoryState::Paused;
    usage.flush_us_per_mib = store.pace.flush.us_per_mib();
    usage.fetch_us_per_mib = store.pace.fetch.us_per_mib();
    metrics::worker_usage(&usage, store.standing.get().takes_nothing());
    (held.into_iter().map(job_bytes).collect(), by_job.into_values().collect(), usage)
}

/// The locations of one job, in order.
pub(super) fn list(store: &Store, job: JobId, locations_max: usize) -> pb::ListLocationsAnswer {
    let mut answer = pb::ListLocationsAnswer::default();
    for Named { shuffle, key: (partition, epoch), location } in
        store.each_location().filter(|named| named.shuffle.job == job)
    {
        answer.total += 1;
        if answer.locations.len() < locations_max {
            let summary = location.summary();
            answer.locations.push(pb::LocationInfo {
                shuffle: Some(shuffle.into()),
                partition: partition.0,
                epoch: epoch.0,
                phase: summary.phase.to_owned(),
                bytes: summary.bytes,
                disk_bytes: summary.disk_bytes,
            });
        }
    }
    answer
}

fn add_locations(store: &Store, by_job: &mut BTreeMap<JobId, pb::JobUsage>, usage: &mut pb::WorkerUsage) {
    for Named { shuffle, location, .. } in store.each_location() {
        let summary = location.summary();
        let job = by_job.entry(shuffle.job).or_insert_with(|| pb::JobUsage {
            job: job_bytes(shuffle.job),
            user: store.jobs_known.user(shuffle.job),
            ..Default::default()
        });
        job.bytes += summary.bytes;
        job.locations += 1;
        usage.locations += 1;
        usage.open_locations += u64::from(summary.is_open());
    }
}

impl From<DiskReport> for pb::DiskUsage {
    fn from(disk: DiskReport) -> Self {
        Self {
            path: disk.path,
            class: disk.class.to_string(),
            state: disk.state.to_string(),
            used_bytes: disk.used_bytes,
            room_bytes: disk.room_bytes,
            queued_bytes: disk.queued_bytes,
            errors: disk.errors,
        }
    }
}
