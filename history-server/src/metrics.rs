//! The history server's own metrics; names and units stand here only.

use std::time::Duration;

/// Jobs in the list.
const JOBS: &str = "penstock_history_jobs";
/// How long a look at the store of event logs took.
const INDEX_REFRESH_SECONDS: &str = "penstock_history_index_refresh_seconds";
/// Compressed bytes of event logs read.
const LOG_READ_BYTES: &str = "penstock_history_log_read_bytes_total";

pub fn index_refreshed(jobs: usize, took: Duration) {
    metrics::gauge!(JOBS).set(jobs as f64);
    metrics::histogram!(INDEX_REFRESH_SECONDS).record(took.as_secs_f64());
}

pub fn segment_read(bytes: usize) {
    metrics::counter!(LOG_READ_BYTES).increment(bytes as u64);
}
