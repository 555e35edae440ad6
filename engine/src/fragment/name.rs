//! Short names for stages: the operator that says most about them, or the tables that they scan.

use std::sync::Arc;

use datafusion::physical_plan::{
    ExecutionPlan,
    aggregates::AggregateExec,
    joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec},
    sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
    union::UnionExec,
};
use indexmap::IndexSet;

use super::short;
use crate::{scan::StageScanExec, sink::WriteExec};

const NAME_CHARACTERS_MAX: usize = 80;

/// The first telling operator from the top; the scanned tables if there is nothing else.
pub(super) fn of(piece: &Arc<dyn ExecutionPlan>) -> String {
    let plain = || piece.name().trim_end_matches("Exec").to_owned();
    let name = find(piece).or_else(|| scan(piece)).unwrap_or_else(plain);
    match name.char_indices().nth(NAME_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

fn find(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    own(plan).or_else(|| plan.children().into_iter().find_map(find))
}

/// `Scan lineitem`; of several tables the first and how many more.
fn scan(piece: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let scans: Vec<&StageScanExec> =
        leaves(piece).into_iter().filter_map(|leaf| leaf.downcast_ref()).collect();
    let tables: IndexSet<&str> = scans.iter().filter_map(|scan| scan.table()).collect();
    match tables.first() {
        _ if scans.is_empty() => None,
        None => Some("Scan".to_owned()),
        Some(first) if tables.len() == 1 => Some(format!("Scan {first}")),
        Some(first) => Some(format!("Scan {first} +{}", tables.len() - 1)),
    }
}

fn leaves(plan: &Arc<dyn ExecutionPlan>) -> Vec<&Arc<dyn ExecutionPlan>> {
    match plan.children() {
        children if children.is_empty() => vec![plan],
        children => children.into_iter().flat_map(leaves).collect(),
    }
}

fn only_scans(plan: &Arc<dyn ExecutionPlan>) -> bool {
    leaves(plan).into_iter().all(|leaf| leaf.is::<StageScanExec>())
        && plan.children().into_iter().all(|child| find(child).is_none())
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
        return (!only_scans(plan)).then(|| "Union".to_owned());
    }
    if plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>() || plan.is::<SortMergeJoinExec>() {
        return Some(plan.name().trim_end_matches("Exec").to_owned());
    }
    None
}
