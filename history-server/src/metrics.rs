//! The history server's own metrics; names and units stand here only.

use std::time::Duration;

/// Jobs in the list and how long the last look at the store took.
pub fn index_refreshed(jobs: usize, took: Duration) {
    metrics::gauge!("penstock_history_jobs").set(jobs as f64);
    metrics::histogram!("penstock_history_index_refresh_seconds").record(took.as_secs_f64());
}

/// Compressed bytes of event logs read.
pub fn segment_read(bytes: usize) {
    metrics::counter!("penstock_history_log_read_bytes_total").increment(bytes as u64);
}
