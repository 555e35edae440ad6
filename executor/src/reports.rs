//! Reports that the coordinator has not taken yet.
//!
//! A report that was sent may be lost with its connection, so it is kept until the coordinator says that it arrived or
//! that the job has ended, and sent again over the next connection. Taking a report twice is harmless. Bounded in bytes:
//! beyond the limit the oldest goes; to the coordinator that attempt is then lost and runs again elsewhere.

use std::collections::VecDeque;

use penstock_protocol::{
    ids::{AttemptId, JobId},
    task::{AttemptOutcome, AttemptReport, TaskOutput},
};
use tracing::error;

#[derive(Debug)]
pub struct Reports {
    /// In the order in which the attempts ended.
    waiting: VecDeque<AttemptReport>,
    bytes: usize,
    bytes_max: usize,
}

impl Reports {
    pub fn new(bytes_max: usize) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub fn keep(&mut self, report: AttemptReport) {
        self.bytes += size(&report);
        self.waiting.push_back(report);
        while self.bytes > self.bytes_max && self.waiting.len() > 1 {
            let Some(dropped) = self.waiting.pop_front() else { break };
            self.bytes -= size(&dropped);
            error!(attempt = %dropped.attempt, bytes_max = self.bytes_max, "undelivered report dropped, too many wait");
        }
    }

    pub fn taken(&mut self, attempt: AttemptId) {
        self.remove(|report| report.attempt == attempt);
    }

    pub fn forget(&mut self, job: JobId) {
        self.remove(|report| report.attempt.task.job == job);
    }

    fn remove(&mut self, chosen: impl Fn(&AttemptReport) -> bool) {
        self.waiting.retain(|report| !chosen(report));
        self.bytes = self.waiting.iter().map(size).sum();
    }

    pub fn contains(&self, attempt: AttemptId) -> bool {
        self.waiting.iter().any(|report| report.attempt == attempt)
    }

    pub fn iter(&self) -> impl Iterator<Item = &AttemptReport> {
        self.waiting.iter()
    }

    pub fn newest(&self) -> Option<&AttemptReport> {
        self.waiting.back()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// Roughly what a report occupies; inline results are what can make it large.
fn size(report: &AttemptReport) -> usize {
    let output = match &report.outcome {
        AttemptOutcome::Succeeded(TaskOutput::Inline { batches, .. }) => {
            batches.iter().map(|batch| batch.len()).sum()
        }
        AttemptOutcome::Succeeded(TaskOutput::Shuffle(output)) => output.partitions.len() * 48,
        AttemptOutcome::Succeeded(TaskOutput::Files(files)) => files.len() * 256,
        AttemptOutcome::Failed(failure) => failure.message.len(),
        AttemptOutcome::Cancelled => 0,
    };
    1024 + output + report.metrics.operators.len() * 512
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::attempt::tests::attempt;

    fn inline(index: u32, bytes: usize) -> AttemptReport {
        let output = TaskOutput::Inline { rows: 1, batches: vec![Bytes::from(vec![0; bytes])] };
        AttemptReport {
            attempt: attempt(index, 0),
            outcome: AttemptOutcome::Succeeded(output),
            metrics: Default::default(),
        }
    }

    #[test]
    fn a_report_is_kept_until_it_was_taken() {
        let mut reports = Reports::new(1 << 20);
        reports.keep(inline(0, 10));
        reports.keep(inline(1, 10));
        reports.taken(attempt(0, 0));
        reports.taken(attempt(0, 0));
        assert_eq!(reports.iter().map(|report| report.attempt).collect::<Vec<_>>(), [attempt(1, 0)]);
        reports.forget(attempt(1, 0).task.job);
        assert!(reports.is_empty());
    }

    #[test]
    fn beyond_the_limit_the_oldest_report_goes() {
        let mut reports = Reports::new(12_000);
        (0..3).for_each(|index| reports.keep(inline(index, 4_000)));
        assert!(!reports.contains(attempt(0, 0)));
        assert!(reports.contains(attempt(1, 0)) && reports.contains(attempt(2, 0)));
    }
}
