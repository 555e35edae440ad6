//! Names and units of what the client counts. No labels: a client does not name jobs or workers.

use std::time::Duration;

/// Payload bytes that were acknowledged by workers.
const PUSHED_BYTES: &str = "penstock_shuffle_client_pushed_bytes_total";
/// Frames sent again because their outcome was unknown.
const RESENT_FRAMES: &str = "penstock_shuffle_client_resent_frames_total";
/// Batches sent to a new epoch because an older one did not take them.
const REVIVED_BATCHES: &str = "penstock_shuffle_client_revived_batches_total";
/// Locations read from another copy because the first one failed.
const FAILOVERS: &str = "penstock_shuffle_client_failovers_total";
/// Seconds that writers waited for room in a push window.
const PUSH_WAIT_SECONDS: &str = "penstock_shuffle_client_push_wait_seconds";
/// Bytes of batches received from workers, those of losing attempts included.
const FETCHED_BYTES: &str = "penstock_shuffle_client_fetched_bytes_total";
/// Those of them that were read where they lie, in files that workers of this host lent.
const BORROWED_BYTES: &str = "penstock_shuffle_client_borrowed_bytes_total";
/// Lent files that could not be opened or read: the worker was asked to send their batches.
const FAILED_LOANS: &str = "penstock_shuffle_client_failed_loans_total";
/// Data connections that were opened; label `way` is `local` (to a worker of this host, past the network) or `network`.
const CONNECTIONS: &str = "penstock_shuffle_client_connections_total";
/// Batches skipped because they were duplicates or of a losing attempt.
const SKIPPED_BATCHES: &str = "penstock_shuffle_client_skipped_batches_total";
/// Calls of an owner that another master answered than the one before.
const MASTER_CHANGES: &str = "penstock_shuffle_client_master_changes_total";
/// Streams opened again after their connection broke.
const REOPENED_STREAMS: &str = "penstock_shuffle_client_reopened_streams_total";

pub(crate) fn pushed(bytes: u64) {
    metrics::counter!(PUSHED_BYTES).increment(bytes);
}

pub(crate) fn resent(frames: usize) {
    metrics::counter!(RESENT_FRAMES).increment(frames as u64);
}

pub(crate) fn revived(batches: usize) {
    metrics::counter!(REVIVED_BATCHES).increment(batches as u64);
}

pub(crate) fn failed_over() {
    metrics::counter!(FAILOVERS).increment(1);
}

pub(crate) fn push_waited(wait: Duration) {
    metrics::histogram!(PUSH_WAIT_SECONDS).record(wait.as_secs_f64());
}

pub(crate) fn fetched(bytes: usize) {
    metrics::counter!(FETCHED_BYTES).increment(bytes as u64);
}

pub(crate) fn borrowed(bytes: usize) {
    fetched(bytes);
    metrics::counter!(BORROWED_BYTES).increment(bytes as u64);
}

pub(crate) fn loan_failed() {
    metrics::counter!(FAILED_LOANS).increment(1);
}

pub(crate) fn connected(way: &'static str) {
    metrics::counter!(CONNECTIONS, "way" => way).increment(1);
}

pub(crate) fn skipped_batch() {
    metrics::counter!(SKIPPED_BATCHES).increment(1);
}

pub(crate) fn master_changed() {
    metrics::counter!(MASTER_CHANGES).increment(1);
}

pub(crate) fn reopened_stream() {
    metrics::counter!(REOPENED_STREAMS).increment(1);
}
