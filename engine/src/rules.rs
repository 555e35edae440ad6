//! Our own physical optimizer rules: they leave plans that stay right when each stage's partitions run as tasks in
//! different processes.

use std::sync::Arc;

use datafusion::physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer};

mod single_task;
mod spread_joins;

pub use single_task::SingleTaskExec;

/// DataFusion's rules with ours in between.
pub fn physical() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    // Joins have their final mode and sides after `join_selection`; exchanges are put in after it.
    let after =
        rules.iter().position(|rule| rule.name() == "join_selection").map_or(rules.len(), |at| at + 1);
    rules.insert(after, Arc::new(spread_joins::SpreadJoins));
    // Projections, limits and sorts have their final place before the last check.
    let last = rules.iter().position(|rule| rule.name() == "SanityCheckPlan").unwrap_or(rules.len());
    rules.insert(last, Arc::new(single_task::RemoveSingleTask));
    rules
}
