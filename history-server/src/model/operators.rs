//! Metrics of one operator over the winning attempts of its stage's tasks.

use std::collections::BTreeMap;

use penstock_protocol::task::OperatorMetrics;

/// What one task's winner said about the operator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OperatorNumbers {
    pub rows_out: u64,
    pub cpu_ms: f64,
    pub spilled_bytes: u64,
    pub memory_peak_bytes: u64,
}

#[derive(Debug, Default)]
pub struct OperatorRecord {
    pub parent: Option<u32>,
    pub name: String,
    pub detail: String,
    pub estimated_rows: Option<u64>,
    pub tasks: BTreeMap<u32, OperatorNumbers>,
    /// Sums over tasks, by DataFusion's name.
    pub counters: BTreeMap<String, u64>,
}

impl OperatorRecord {
    /// The stage runs again: what its former winners said counts no longer.
    pub fn start_over(&mut self) {
        self.tasks.clear();
        self.counters.clear();
    }

    /// Adds a winner's numbers.
    pub fn add(&mut self, task: u32, metrics: OperatorMetrics) {
        self.parent = metrics.parent.or(self.parent);
        if !metrics.name.is_empty() {
            self.name = metrics.name;
        }
        if self.detail.is_empty() {
            self.detail = metrics.detail;
        }
        let numbers = OperatorNumbers {
            rows_out: metrics.rows_out,
            cpu_ms: metrics.cpu_ms,
            spilled_bytes: metrics.spilled_bytes,
            memory_peak_bytes: metrics.memory_peak_bytes,
        };
        self.tasks.insert(task, numbers);
        for (name, value) in metrics.counters {
            let sum = self.counters.entry(name).or_default();
            *sum = sum.saturating_add(value);
        }
    }
}
