//! Names, units and labels of what the shuffle service measures. Labels are bounded: never a job or a partition.

use std::time::Duration;

use penstock_protocol::{frame::Refusal, pb::WorkerUsage, shuffle::CommitVerdict, status::ErrorCode};

use crate::worker::{DiskReport, DiskState};

/// Batches accepted by this worker.
const PUSHED_BATCHES: &str = "penstock_shuffle_pushed_batches_total";
/// Their bytes, headers included.
const PUSHED_BYTES: &str = "penstock_shuffle_pushed_bytes_total";
/// Batches not accepted; label `reason` is a [`Refusal`].
const REFUSED_BATCHES: &str = "penstock_shuffle_refused_batches_total";
/// Bytes of second copies sent to other workers.
const REPLICATED_BYTES: &str = "penstock_shuffle_replicated_bytes_total";
/// Connections to other workers that broke: their locations take nothing more.
const BROKEN_LINKS: &str = "penstock_shuffle_broken_links_total";
/// Frames whose client was asked to push less at a time.
const CONGESTED_FRAMES: &str = "penstock_shuffle_congested_frames_total";
/// Seconds that push connections waited for memory.
const PUSH_PAUSE_SECONDS: &str = "penstock_shuffle_push_pause_seconds";
/// Bytes of stored data, incoming frames included, in memory.
const MEMORY_USED_BYTES: &str = "penstock_shuffle_memory_used_bytes";
/// Bytes of memory that stored data may take.
const MEMORY_LIMIT_BYTES: &str = "penstock_shuffle_memory_limit_bytes";
/// Locations that a worker holds.
const LOCATIONS: &str = "penstock_shuffle_locations";
/// Those of them that take batches now.
const OPEN_LOCATIONS: &str = "penstock_shuffle_open_locations";
/// Bytes moved from memory to disk.
const FLUSHED_BYTES: &str = "penstock_shuffle_flushed_bytes_total";
/// Seconds of one write to one file.
const FLUSH_SECONDS: &str = "penstock_shuffle_flush_seconds";
/// Writes that failed.
const FLUSH_FAILURES: &str = "penstock_shuffle_flush_failures_total";
/// Bytes moved from disks to the object store.
const EVICTED_BYTES: &str = "penstock_shuffle_evicted_bytes_total";
/// Seconds of one such move.
const EVICT_SECONDS: &str = "penstock_shuffle_evict_seconds";
/// Objects that nobody wants any more and that wait for their deletion from the object store.
const UNWANTED_OBJECTS: &str = "penstock_shuffle_unwanted_objects";
/// Objects for which there was no more room to wait: they stay in the object store until the worker starts again.
const ABANDONED_OBJECTS: &str = "penstock_shuffle_abandoned_objects_total";
/// Seconds of one read of stored data for a reader.
const READ_SECONDS: &str = "penstock_shuffle_read_seconds";
/// 1 for the state that a disk is in; labels `disk` (its folder) and `state`.
const DISK_STATE: &str = "penstock_shuffle_disk_state";
/// Bytes of this worker on a disk; label `disk`.
const DISK_USED_BYTES: &str = "penstock_shuffle_disk_used_bytes";
/// Bytes that a disk may still take; label `disk`.
const DISK_ROOM_BYTES: &str = "penstock_shuffle_disk_room_bytes";
/// Calls to a disk that failed, less one for each probe since that succeeded; label `disk`. At `disk_errors_max` it has failed.
const DISK_ERRORS: &str = "penstock_shuffle_disk_errors";
/// 1 if pushes wait for memory.
const MEMORY_PAUSED: &str = "penstock_shuffle_memory_paused";
/// 1 if this worker takes nothing new: it drains or stops.
const DRAINING: &str = "penstock_shuffle_draining";
/// Seconds of one call to the object store, its tries included; label `operation` is `write`, `read`, `delete` or `list`.
const OBJECT_CALL_SECONDS: &str = "penstock_shuffle_object_call_seconds";
/// Calls to the object store that failed with their last try; label `operation` as above.
const OBJECT_CALL_FAILURES: &str = "penstock_shuffle_object_call_failures_total";
/// Bytes sent to readers, headers included.
const FETCHED_BYTES: &str = "penstock_shuffle_fetched_bytes_total";
/// Bytes in files that were lent to readers of this host: they read them themselves. Not in the bytes sent.
const LENT_BYTES: &str = "penstock_shuffle_lent_bytes_total";
/// Streams that were refused; label `reason` is a [`Refusal`].
const REFUSED_STREAMS: &str = "penstock_shuffle_refused_streams_total";
/// Connections that the worker gave up; label `reason` is a [`Refusal`].
const FAULTED_CONNECTIONS: &str = "penstock_shuffle_faulted_connections_total";
/// Connections for which there was no room: `connections_max` were open, or too many on which nothing was said. Their
/// clients hear it, and come again or go to another worker.
const TURNED_AWAY_CONNECTIONS: &str = "penstock_shuffle_turned_away_connections_total";
/// Control calls, and orders over admin views, that did not show the cluster's secret.
const DENIED_CALLS: &str = "penstock_shuffle_denied_calls_total";
/// Data connections that are open.
const CONNECTIONS: &str = "penstock_shuffle_connections";
/// Locations committed; label `verdict` is `committed`, `empty` or `failed`.
const COMMITS: &str = "penstock_shuffle_commits_total";
/// Workers that report in time.
const WORKERS_ALIVE: &str = "penstock_shuffle_workers_alive";
/// Partitions placed by the master.
const PLACED_PARTITIONS: &str = "penstock_shuffle_placed_partitions_total";
/// Requests for placement that were refused; label `reason` is `no_room` (too few workers take new data) or
/// `quota_exceeded`.
const REFUSED_PLACEMENTS: &str = "penstock_shuffle_refused_placements_total";
/// Jobs whose lease ended without a release.
const EXPIRED_JOBS: &str = "penstock_shuffle_expired_jobs_total";

pub(crate) fn pushed(batches: u64, bytes: u64) {
    metrics::counter!(PUSHED_BATCHES).increment(batches);
    metrics::counter!(PUSHED_BYTES).increment(bytes);
}

pub(crate) fn refused_batches(refusal: Refusal, batches: u64) {
    metrics::counter!(REFUSED_BATCHES, "reason" => format!("{refusal:?}")).increment(batches);
}

pub(crate) fn replicated(bytes: u64) {
    metrics::counter!(REPLICATED_BYTES).increment(bytes);
}

pub(crate) fn link_broke() {
    metrics::counter!(BROKEN_LINKS).increment(1);
}

pub(crate) fn congested() {
    metrics::counter!(CONGESTED_FRAMES).increment(1);
}

pub(crate) fn push_paused(pause: Duration) {
    metrics::histogram!(PUSH_PAUSE_SECONDS).record(pause.as_secs_f64());
}

pub(crate) fn memory_used(bytes: u64) {
    metrics::gauge!(MEMORY_USED_BYTES).set(bytes as f64);
}

pub(crate) fn worker_usage(usage: &WorkerUsage, takes_nothing: bool) {
    memory_used(usage.memory_used_bytes);
    metrics::gauge!(MEMORY_PAUSED).set(f64::from(usage.paused));
    metrics::gauge!(DRAINING).set(f64::from(takes_nothing));
    metrics::gauge!(MEMORY_LIMIT_BYTES).set(usage.memory_limit_bytes as f64);
    metrics::gauge!(LOCATIONS).set(usage.locations as f64);
    metrics::gauge!(OPEN_LOCATIONS).set(usage.open_locations as f64);
}

pub(crate) fn flushed(bytes: u64, took: Duration) {
    metrics::counter!(FLUSHED_BYTES).increment(bytes);
    metrics::histogram!(FLUSH_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn flush_failed() {
    metrics::counter!(FLUSH_FAILURES).increment(1);
}

pub(crate) fn disk(report: &DiskReport) {
    let DiskReport { path, state, used_bytes, room_bytes, errors, .. } = report;
    for each in [DiskState::Healthy, DiskState::Full, DiskState::Failed, DiskState::Hung] {
        metrics::gauge!(DISK_STATE, "disk" => path.clone(), "state" => each.to_string())
            .set(f64::from(each == *state));
    }
    metrics::gauge!(DISK_USED_BYTES, "disk" => path.clone()).set(*used_bytes as f64);
    metrics::gauge!(DISK_ROOM_BYTES, "disk" => path.clone()).set(*room_bytes as f64);
    metrics::gauge!(DISK_ERRORS, "disk" => path.clone()).set(*errors);
}

/// One call to the object store with all its tries.
pub(crate) fn object_call(operation: &'static str, took: Duration, has_failed: bool) {
    metrics::histogram!(OBJECT_CALL_SECONDS, "operation" => operation).record(took.as_secs_f64());
    metrics::counter!(OBJECT_CALL_FAILURES, "operation" => operation).increment(u64::from(has_failed));
}

pub(crate) fn evicted(bytes: u64, took: Duration) {
    metrics::counter!(EVICTED_BYTES).increment(bytes);
    metrics::histogram!(EVICT_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn unwanted_objects(waiting: usize) {
    metrics::gauge!(UNWANTED_OBJECTS).set(waiting as f64);
}

pub(crate) fn abandoned_objects(objects: usize) {
    metrics::counter!(ABANDONED_OBJECTS).increment(objects as u64);
}

pub(crate) fn read_back(took: Duration) {
    metrics::histogram!(READ_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn fetched(bytes: u64) {
    metrics::counter!(FETCHED_BYTES).increment(bytes);
}

pub(crate) fn lent(bytes: u64) {
    metrics::counter!(LENT_BYTES).increment(bytes);
}

pub(crate) fn refused_stream(refusal: Refusal) {
    metrics::counter!(REFUSED_STREAMS, "reason" => format!("{refusal:?}")).increment(1);
}

pub(crate) fn faulted_connection(refusal: Refusal) {
    metrics::counter!(FAULTED_CONNECTIONS, "reason" => format!("{refusal:?}")).increment(1);
}

pub(crate) fn turned_away() {
    metrics::counter!(TURNED_AWAY_CONNECTIONS).increment(1);
}

pub(crate) fn denied_call() {
    metrics::counter!(DENIED_CALLS).increment(1);
}

/// Counts a connection for as long as it lives.
pub(crate) struct OpenConnection;

impl OpenConnection {
    pub fn new() -> Self {
        metrics::gauge!(CONNECTIONS).increment(1.0);
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics::gauge!(CONNECTIONS).decrement(1.0);
    }
}

pub(crate) fn committed(verdict: &CommitVerdict) {
    let verdict = match verdict {
        CommitVerdict::Committed { .. } => "committed",
        CommitVerdict::Empty => "empty",
        CommitVerdict::Failed { .. } | CommitVerdict::Unanswered { .. } => "failed",
    };
    metrics::counter!(COMMITS, "verdict" => verdict).increment(1);
}

pub(crate) fn workers_alive(workers: usize) {
    metrics::gauge!(WORKERS_ALIVE).set(workers as f64);
}

pub(crate) fn placed(partitions: usize) {
    metrics::counter!(PLACED_PARTITIONS).increment(partitions as u64);
}

pub(crate) fn refused_placement(code: ErrorCode) {
    metrics::counter!(REFUSED_PLACEMENTS, "reason" => code.as_str()).increment(1);
}

pub(crate) fn expired_job() {
    metrics::counter!(EXPIRED_JOBS).increment(1);
}
