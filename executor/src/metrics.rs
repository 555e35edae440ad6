//! The executor's metrics: names, units and labels.

use metrics::{counter, gauge, histogram};
use penstock_protocol::task::{AttemptOutcome, AttemptReport};

/// Attempts that ended, by `outcome`: `succeeded`, `failed` or `cancelled`.
pub const ATTEMPTS: &str = "penstock_executor_attempts_total";
/// Run time of attempts in seconds, by `outcome`.
pub const ATTEMPT_SECONDS: &str = "penstock_executor_attempt_seconds";
/// Room for attempts.
pub const SLOTS: &str = "penstock_executor_slots";
/// Attempts that run.
pub const SLOTS_BUSY: &str = "penstock_executor_slots_busy";
/// Reports that the coordinator has not taken yet.
pub const REPORTS_WAITING: &str = "penstock_executor_reports_waiting";
/// 1 while there is a stream to the coordinator.
pub const CONNECTED: &str = "penstock_executor_connected";
/// Bytes that operators have reserved.
pub const MEMORY_USED_BYTES: &str = "penstock_executor_memory_used_bytes";
/// Bytes of spill files.
pub const SCRATCH_USED_BYTES: &str = "penstock_executor_scratch_used_bytes";

pub(crate) fn attempt_ended(report: &AttemptReport) {
    let outcome = match report.outcome {
        AttemptOutcome::Succeeded(_) => "succeeded",
        AttemptOutcome::Failed(_) => "failed",
        AttemptOutcome::Cancelled => "cancelled",
    };
    counter!(ATTEMPTS, "outcome" => outcome).increment(1);
    histogram!(ATTEMPT_SECONDS, "outcome" => outcome).record(report.metrics.run_ms as f64 / 1000.0);
}

pub(crate) fn workload(slots: u32, busy: usize, reports_waiting: usize) {
    gauge!(SLOTS).set(f64::from(slots));
    gauge!(SLOTS_BUSY).set(busy as f64);
    gauge!(REPORTS_WAITING).set(reports_waiting as f64);
}

pub(crate) fn resources(memory_used_bytes: u64, scratch_used_bytes: u64) {
    gauge!(MEMORY_USED_BYTES).set(memory_used_bytes as f64);
    gauge!(SCRATCH_USED_BYTES).set(scratch_used_bytes as f64);
}

/// Counts as connected for as long as it lives.
pub(crate) struct Connected;

impl Connected {
    pub(crate) fn new() -> Self {
        gauge!(CONNECTED).set(1.0);
        Self
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        gauge!(CONNECTED).set(0.0);
    }
}
