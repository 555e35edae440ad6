//! Short names for stages: the operator that says most about them.

use std::sync::Arc;

use datafusion::physical_plan::{
    ExecutionPlan,
    aggregates::AggregateExec,
    joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec},
    sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
    union::UnionExec,
};

use super::short;
use crate::{scan::StageScanExec, sink::WriteExec};

const NAME_CHARACTERS_MAX: usize = 80;

/// The first telling operator from the top; the scan if there is nothing else.
pub(super) fn of(piece: &Arc<dyn ExecutionPlan>) -> String {
    let name = find(piece).unwrap_or_else(|| piece.name().trim_end_matches("Exec").to_owned());
    match name.char_indices().nth(NAME_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

fn find(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    own(plan).or_else(|| plan.children().into_iter().find_map(find))
}

fn own(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    if plan.is::<WriteExec>() {
        return Some("Write".to_owned());
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let on: Vec<String> = join.on().iter().map(|(l, r)| format!("{} = {}", short(l), short(r))).collect();
        return Some(format!("HashJoin({})", on.join(", ")));
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let keys: Vec<&str> = aggregate.group_expr().expr().iter().map(|(_, name)| name.as_str()).collect();
        return Some(match keys.as_slice() {
            [] => "Aggregate".to_owned(),
            keys => format!("Aggregate({})", keys.join(", ")),
        });
    }
    if plan.is::<SortExec>() || plan.is::<SortPreservingMergeExec>() {
        return Some(if plan.fetch().is_some() { "TopK".to_owned() } else { "Sort".to_owned() });
    }
    if plan.name().ends_with("WindowAggExec") {
        return Some("Window".to_owned());
    }
    if plan.is::<UnionExec>() {
        return Some("Union".to_owned());
    }
    if plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>() || plan.is::<SortMergeJoinExec>() {
        return Some(plan.name().trim_end_matches("Exec").to_owned());
    }
    plan.downcast_ref::<StageScanExec>().map(|_| "Scan".to_owned())
}
