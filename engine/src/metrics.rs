//! Operators of a stage's plan, numbered in pre-order, and what they measured.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use penstock_protocol::event::PlannedOperator;

pub(crate) fn planned_operators(plan: &Arc<dyn ExecutionPlan>) -> Vec<PlannedOperator> {
    let _ = plan;
    Vec::new()
}
