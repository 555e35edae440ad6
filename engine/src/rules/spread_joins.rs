//! Makes joins right whose probe side is spread over tasks.
//!
//! A collected join keeps its build side whole in every task. Joins that emit build rows know which of them matched only
//! after all probe rows were seen, so each task would emit its own idea of them. Hash joins of that kind are
//! partitioned by key instead; joins that have no key, and the null-aware anti join of `NOT IN`, see their whole probe
//! side in one task.

use std::sync::Arc;

use datafusion::{
    common::{
        JoinType, Result,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        joins::{HashJoinExec, NestedLoopJoinExec, PartitionMode},
    },
};

use super::single_task::SingleTaskExec;

#[derive(Debug)]
pub struct SpreadJoins;

impl PhysicalOptimizerRule for SpreadJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let rewritten = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
                spread_hash_join(join, &node)?
            } else if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
                emits_build_rows(*join.join_type()).then(|| gather_probe_side(&node)).transpose()?
            } else {
                None
            };
            Ok(rewritten.map_or_else(|| Transformed::no(node), Transformed::yes))
        })
        .data()
    }

    fn name(&self) -> &str {
        "penstock_spread_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn spread_hash_join(
    join: &HashJoinExec,
    node: &Arc<dyn ExecutionPlan>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if join.null_aware {
        return gather_probe_side(node).map(Some);
    }
    if *join.partition_mode() != PartitionMode::CollectLeft || !emits_build_rows(*join.join_type()) {
        return Ok(None);
    }
    join.builder()
        .with_partition_mode(PartitionMode::Partitioned)
        .recompute_properties()
        .build_exec()
        .map(Some)
}

fn emits_build_rows(join_type: JoinType) -> bool {
    match join_type {
        JoinType::Left | JoinType::Full | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            true
        }
        JoinType::Inner
        | JoinType::Right
        | JoinType::RightSemi
        | JoinType::RightAnti
        | JoinType::RightMark => false,
    }
}

fn gather_probe_side(node: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut children: Vec<_> = node.children().into_iter().cloned().collect();
    let probe = children.len() - 1;
    children[probe] = Arc::new(SingleTaskExec::new(Arc::clone(&children[probe])));
    datafusion::physical_plan::replace_children_if_necessary(Arc::clone(node), children)
}
