//! Operators of a stage's plan, numbered in pre-order, and what they measured.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::common::Statistics;
use datafusion::physical_plan::{
    ExecutionPlan,
    display::DisplayableExecutionPlan,
    metrics::{MetricValue, MetricsSet},
    statistics::{StatisticsArgs, StatisticsContext},
};
use penstock_protocol::{
    event::PlannedOperator,
    task::{AttemptMetrics, OperatorMetrics},
};

/// One operator of a template, with the node that runs it in a task.
#[derive(Debug)]
pub(crate) struct Operator {
    pub parent: Option<u32>,
    pub name: String,
    pub detail: String,
    /// None where the task runs another branch of a union.
    pub node: Option<Arc<dyn ExecutionPlan>>,
}

impl Operator {
    pub fn of(node: &Arc<dyn ExecutionPlan>, parent: Option<u32>) -> Self {
        Self { parent, name: node.name().to_owned(), detail: detail(node), node: None }
    }
}

/// The operator as `EXPLAIN` prints it.
fn detail(node: &Arc<dyn ExecutionPlan>) -> String {
    DisplayableExecutionPlan::new(node.as_ref()).one_line().to_string().trim_end().to_owned()
}

/// The operators of a template; parents come before their children.
pub(crate) fn planned_operators(plan: &Arc<dyn ExecutionPlan>) -> Vec<PlannedOperator> {
    let mut operators = vec![];
    plan_operator(plan, None, &mut operators);
    operators
}

fn plan_operator(node: &Arc<dyn ExecutionPlan>, parent: Option<u32>, operators: &mut Vec<PlannedOperator>) {
    let operator = operators.len() as u32;
    let Operator { name, detail, .. } = Operator::of(node, parent);
    let estimated_rows = expected(node).and_then(|rows| rows.num_rows.get_value().map(|rows| *rows as u64));
    operators.push(PlannedOperator { operator, parent, name, detail, estimated_rows });
    node.children().into_iter().for_each(|child| plan_operator(child, Some(operator), operators));
}

/// What the planner expects a node to give; none if it cannot tell.
pub(crate) fn expected(node: &Arc<dyn ExecutionPlan>) -> Option<Arc<Statistics>> {
    StatisticsContext::new().compute(node.as_ref(), &StatisticsArgs::new()).ok()
}

/// What the operators of an attempt measured, and the sums that the attempt reports.
pub(crate) fn collect(operators: &[Operator], metrics: &mut AttemptMetrics) {
    metrics.operators =
        operators.iter().enumerate().map(|(index, operator)| measured(index, operator)).collect();
    for operator in &metrics.operators {
        let counter = |name: &str| operator.counters.get(name).copied().unwrap_or(0);
        metrics.scanned_bytes += counter("bytes_scanned");
        metrics.shuffle_read_bytes += counter("shuffle_read_bytes");
        metrics.shuffle_written_bytes += counter("shuffle_written_bytes");
        metrics.shuffle_read_wait_ms += counter("shuffle_read_wait") / 1_000_000;
        metrics.shuffle_write_wait_ms += counter("shuffle_write_wait") / 1_000_000;
        metrics.spilled_bytes += operator.spilled_bytes;
        metrics.memory_peak_bytes += operator.memory_peak_bytes;
    }
    metrics.cpu_ms = metrics.operators.iter().map(|operator| operator.cpu_ms).sum::<f64>() as u64;
}

fn measured(index: usize, operator: &Operator) -> OperatorMetrics {
    let mut measured = OperatorMetrics {
        operator: index as u32,
        parent: operator.parent,
        name: operator.name.clone(),
        detail: operator.detail.clone(),
        ..OperatorMetrics::default()
    };
    if let Some(set) = operator.node.as_ref().and_then(|node| node.metrics()) {
        read(&set, &mut measured);
    }
    measured
}

fn read(set: &MetricsSet, measured: &mut OperatorMetrics) {
    let mut counters = BTreeMap::new();
    for metric in set.aggregate_by_name().iter() {
        let value = metric.value().as_usize() as u64;
        match metric.value() {
            MetricValue::OutputRows(_) => measured.rows_out = value,
            MetricValue::ElapsedCompute(_) => measured.cpu_ms += value as f64 / 1e6,
            MetricValue::SpilledBytes(_) => measured.spilled_bytes = value,
            MetricValue::StartTimestamp(_) | MetricValue::EndTimestamp(_) => {}
            MetricValue::Gauge { name, .. } if name.contains("mem") => {
                measured.memory_peak_bytes = measured.memory_peak_bytes.max(value);
            }
            other => {
                if value > 0 {
                    counters.insert(other.name().to_owned(), value);
                }
                if matches!(other.name(), "spread_time" | "encode_time") {
                    measured.cpu_ms += value as f64 / 1e6;
                }
            }
        }
    }
    measured.counters = counters;
}
