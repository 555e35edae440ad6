//! How much is tried before a job gives up.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Attempts of a task that may fail before its job does; at least 1.
    pub task_failures_max: u32,
    /// Attempts of a task that may be lost with their executors: more means that the task brings them down.
    pub task_losses_max: u32,
    /// How long a job waits for one reservation or one commit while the shuffle service does not do it.
    pub shuffle_patience: Duration,
    /// Runs of a stage beyond its first, each because its shuffle data was lost, before its job fails.
    pub shuffle_reruns_max: u32,
    /// Wait before the second try of a task or call; doubles with each further one.
    pub retry_delay: Duration,
    pub retry_delay_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            task_failures_max: 4,
            task_losses_max: 8,
            shuffle_patience: Duration::from_secs(60),
            shuffle_reruns_max: 3,
            retry_delay: Duration::from_millis(100),
            retry_delay_max: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The wait after so many failures.
    pub fn retry_delay(&self, failures: u32) -> Duration {
        let factor = 2u32.saturating_pow(failures.saturating_sub(1).min(16));
        self.retry_delay.saturating_mul(factor).min(self.retry_delay_max)
    }
}
