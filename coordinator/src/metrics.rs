//! Names of the coordinator's metrics. Units stand in the name; labels are bounded and never hold a job's id.

use std::time::Duration;

/// Events that wait for the core.
pub const INBOX_DEPTH: &str = "penstock_coordinator_inbox_depth";
/// How long one turn of the loop took, journal included.
pub const TURN_SECONDS: &str = "penstock_coordinator_turn_seconds";
/// Jobs that ended, by `state`.
pub const JOBS_FINISHED: &str = "penstock_coordinator_jobs_finished_total";
/// New jobs; a submission that found its job by key is none.
pub const JOBS_SUBMITTED: &str = "penstock_coordinator_jobs_submitted_total";
/// From submission to the end, by `state`.
pub const JOB_SECONDS: &str = "penstock_coordinator_job_seconds";
/// Attempts sent to executors.
pub const ATTEMPTS_DISPATCHED: &str = "penstock_coordinator_attempts_dispatched_total";
/// Executors whose stream is open.
pub const EXECUTORS_CONNECTED: &str = "penstock_coordinator_executors_connected";
/// How long planning one statement took, waiting for a planner excluded.
pub const PLANNING_SECONDS: &str = "penstock_coordinator_planning_seconds";
/// How long a statement waited for a planner.
pub const PLANNING_WAIT_SECONDS: &str = "penstock_coordinator_planning_wait_seconds";
/// How long one write to the job store took.
pub const STORE_WRITE_SECONDS: &str = "penstock_coordinator_store_write_seconds";
/// Results kept in memory.
pub const INLINE_RESULT_BYTES: &str = "penstock_coordinator_inline_result_bytes";
/// Samples that were left out of event logs because their spool was full; life cycle events never are.
pub const EVENT_SAMPLES_DROPPED: &str = "penstock_coordinator_event_samples_dropped_total";
/// Failed tries to write to the spool or the store of the event log.
pub const EVENT_LOG_ERRORS: &str = "penstock_coordinator_event_log_errors_total";

/// Records how long something took.
pub fn took(name: &'static str, duration: Duration) {
    metrics::histogram!(name).record(duration.as_secs_f64());
}

/// Sets a gauge that counts bytes. Beyond 2^53 it is not exact, which no gauge has to be.
#[allow(clippy::cast_precision_loss)]
pub fn gauge_bytes(name: &'static str, bytes: usize) {
    metrics::gauge!(name).set(bytes as f64);
}
