//! Proves of a stage that it writes the same rows into the same partitions whenever it runs on the same input.
//!
//! A stage that runs again after its data was lost leaves readers that have finished alone if there is such a proof. The
//! rows of its input come in any order and cut into batches anyhow, so an operator is let through only if its rows, as a
//! multiset, depend on the multisets of its inputs and on nothing else. What is not listed here is not proved: limits
//! (also as a `fetch`), windows, recursion, sums of floats, aggregates that see an order, functions that are not immutable.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::DataType,
    common::tree_node::{TreeNode, TreeNodeRecursion},
    datasource::{memory::MemorySourceConfig, source::DataSourceExec},
    error::Result,
    logical_expr::Volatility,
    physical_expr::{
        HigherOrderFunctionExpr, PhysicalExpr, ScalarFunctionExpr, aggregate::AggregateFunctionExpr,
        expressions::Column,
    },
    physical_expr_common::physical_expr::is_volatile,
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode},
        coalesce_partitions::CoalescePartitionsExec,
        coop::CooperativeExec,
        empty::EmptyExec,
        filter::FilterExec,
        joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec},
        placeholder_row::PlaceholderRowExec,
        projection::ProjectionExec,
        sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
        union::UnionExec,
        unnest::UnnestExec,
    },
};

use crate::{
    exchange::{ExchangeReadExec, ExchangeWriteExec, WritePartitioning},
    scan::StageScanExec,
};

type Plan = Arc<dyn ExecutionPlan>;

/// Aggregates whose value depends on the set of their inputs alone, if those are exact.
const EXACT_AGGREGATES: [&str; 9] =
    ["count", "sum", "min", "max", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor"];

/// `plan` is a stage's template with the node that writes as its root.
pub(super) fn is_proved(plan: &Plan) -> Result<bool> {
    let Some(write) = plan.downcast_ref::<ExchangeWriteExec>() else { return Ok(false) };
    let input = write.input();
    let proved = match write.partitioning() {
        WritePartitioning::RoundRobin(_) => false,
        WritePartitioning::Hash(keys, _) => {
            keys.iter().map(is_immutable).collect::<Result<Vec<_>>>()?.iter().all(|proved| *proved)
                && (!is_partial(input) || keys.iter().all(|key| is_group_key(key, input)))
        }
        WritePartitioning::Gather | WritePartitioning::ByTask { .. } => true,
    };
    // How a partial aggregation splits a group into rows depends on memory. Whoever merges them gets the same groups, as
    // long as all rows of a group are in one partition, and nobody looks at them before.
    let below = if is_partial(input) { input.children()[0] } else { input };
    let own = !is_partial(input) || are_exact(input)?;
    Ok(proved && own && is_repeatable(below)?)
}

fn is_partial(plan: &Plan) -> bool {
    let aggregate = plan.downcast_ref::<AggregateExec>();
    aggregate.is_some_and(|aggregate| {
        matches!(aggregate.mode(), AggregateMode::Partial | AggregateMode::PartialReduce)
    })
}

fn is_group_key(key: &Arc<dyn PhysicalExpr>, plan: &Plan) -> bool {
    let groups = plan.downcast_ref::<AggregateExec>().map(|aggregate| aggregate.group_expr().expr().len());
    let column = key.downcast_ref::<Column>().map(Column::index);
    column.zip(groups).is_some_and(|(column, groups)| column < groups)
}

fn is_repeatable(plan: &Plan) -> Result<bool> {
    let mut proved = true;
    plan.apply(|node| {
        proved = is_repeatable_node(node)?;
        Ok(if proved { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(proved)
}

fn is_repeatable_node(node: &Plan) -> Result<bool> {
    if node.fetch().is_some() || !expressions_are_immutable(node)? {
        return Ok(false);
    }
    if let Some(scan) = node.downcast_ref::<StageScanExec>() {
        // Files that change are an error of their own.
        return Ok(
            scan.source().fetch().is_none() && expressions_are_immutable(&(scan.source().clone() as Plan))?
        );
    }
    if let Some(source) = node.downcast_ref::<DataSourceExec>() {
        return Ok(source.data_source().is::<MemorySourceConfig>());
    }
    if node.is::<AggregateExec>() {
        return Ok(!is_partial(node) && are_exact(node)?);
    }
    Ok(node.is::<ExchangeReadExec>()
        || node.is::<EmptyExec>()
        || node.is::<PlaceholderRowExec>()
        || node.is::<FilterExec>()
        || node.is::<ProjectionExec>()
        || node.is::<CoalescePartitionsExec>()
        || node.is::<CooperativeExec>()
        || node.is::<SortExec>()
        || node.is::<SortPreservingMergeExec>()
        || node.is::<UnionExec>()
        || node.is::<UnnestExec>()
        || node.is::<HashJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>())
}

/// Whether groups and values of an aggregation do not depend on the order of its input.
fn are_exact(node: &Plan) -> Result<bool> {
    let Some(aggregate) = node.downcast_ref::<AggregateExec>() else { return Ok(false) };
    if aggregate.limit_options().is_some() || !expressions_are_immutable(node)? {
        return Ok(false);
    }
    let schema = aggregate.input().schema();
    for (key, _) in aggregate.group_expr().expr() {
        // Of equal keys that differ in their bits, such as 0.0 and -0.0, the first one stays.
        if !is_exact(&key.data_type(&schema)?) {
            return Ok(false);
        }
    }
    Ok(aggregate.aggr_expr().iter().all(|function| is_exact_function(function)))
}

fn is_exact_function(function: &AggregateFunctionExpr) -> bool {
    EXACT_AGGREGATES.contains(&function.fun().name())
        && function.order_bys().is_empty()
        && is_exact(function.field().data_type())
}

/// Equal values of the type are the same bits, and sums do not depend on their order.
fn is_exact(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_exact(values),
        DataType::Null
        | DataType::Boolean
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => true,
        other => other.is_integer() || other.is_decimal() || other.is_temporal(),
    }
}

fn expressions_are_immutable(node: &Plan) -> Result<bool> {
    let mut immutable = true;
    node.apply_expressions(&mut |expr| {
        immutable = immutable && is_immutable(expr)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(immutable)
}

fn is_immutable(expr: &Arc<dyn PhysicalExpr>) -> Result<bool> {
    let mut immutable = !is_volatile(expr);
    expr.apply(|part| {
        if let Some(function) = part.downcast_ref::<ScalarFunctionExpr>() {
            immutable &= function.fun().signature().volatility == Volatility::Immutable;
        }
        immutable &= !part.is::<HigherOrderFunctionExpr>();
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(immutable)
}
