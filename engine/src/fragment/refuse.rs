//! What cannot be cut is refused here, by name, before anything runs.

use std::sync::Arc;

use datafusion::{
    common::{
        JoinType,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::Result,
    physical_expr_common::physical_expr::is_volatile as expr_is_volatile,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties,
        joins::{HashJoinExec, NestedLoopJoinExec, PartitionMode},
        union::InterleaveExec,
    },
};

use super::CutError;

type Plan = Arc<dyn ExecutionPlan>;

/// Encoding and decoding recurse; the stack of a worker thread holds far more than this.
const DEPTH_MAX: usize = 500;

pub(super) fn check_depth(plan: &Plan) -> std::result::Result<(), CutError> {
    let mut deepest = 0;
    let mut open = vec![(plan, 1)];
    while let Some((plan, depth)) = open.pop() {
        deepest = deepest.max(depth);
        open.extend(plan.children().into_iter().map(|child| (child, depth + 1)));
    }
    if deepest > DEPTH_MAX { Err(CutError::TooDeep { depth: deepest, limit: DEPTH_MAX }) } else { Ok(()) }
}

pub(super) fn check(plan: &Plan) -> std::result::Result<(), CutError> {
    let mut refused = Ok(());
    plan.apply(|node| {
        refused = check_node(node);
        Ok(if refused.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    refused
}

fn check_node(node: &Plan) -> std::result::Result<(), CutError> {
    let refuse = |reason| Err(CutError::Unsupported { operator: node.name().to_owned(), reason });
    if node.boundedness().is_unbounded() {
        return refuse("its input never ends");
    }
    if node.is::<InterleaveExec>() {
        return refuse("it mixes partitions of several inputs; unions are kept by the pinned settings");
    }
    if emits_build_rows_in_every_task(node) {
        return refuse(
            "every task would give the build side's rows; the planner has to partition it or gather it",
        );
    }
    match node.name() {
        "StreamingTableExec" => refuse("streaming tables live in one process"),
        "PiecewiseMergeJoinExec" => refuse("it has no encoding"),
        "DataSinkExec" => refuse("it writes in place; sinks have a write node of their own"),
        "ExplainExec" | "AnalyzeExec" => refuse("it is answered by the coordinator"),
        _ => Ok(()),
    }
}

/// A collected join keeps which build rows matched in one process; tasks would each give the ones that *they* did not
/// match.
fn emits_build_rows_in_every_task(node: &Plan) -> bool {
    let join = match (node.downcast_ref::<HashJoinExec>(), node.downcast_ref::<NestedLoopJoinExec>()) {
        (Some(join), _) if *join.partition_mode() == PartitionMode::CollectLeft => {
            (*join.join_type(), join.null_aware, join.right())
        }
        (_, Some(join)) => (*join.join_type(), false, join.right()),
        _ => return false,
    };
    let (join_type, null_aware, probe) = join;
    let emits = matches!(
        join_type,
        JoinType::Left | JoinType::Full | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark
    );
    (emits || null_aware) && probe.output_partitioning().partition_count() > 1
}

/// Whether computing the piece twice could give other rows. Two such pieces are never one stage.
pub(super) fn is_volatile(plan: &Plan) -> Result<bool> {
    let mut volatile = false;
    plan.apply(|node| {
        node.apply_expressions(&mut |expr| {
            volatile |= expr_is_volatile(expr);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if volatile { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(volatile)
}
