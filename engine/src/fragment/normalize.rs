//! Brings a plan into the form that is cut: nodes that only mean something within one process, or that have no encoding,
//! give way to equal ones.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::SchemaRef,
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    error::Result,
    physical_expr::Partitioning,
    physical_plan::{
        ExecutionPlan,
        empty::EmptyExec,
        recursive_query::RecursiveQueryExec,
        repartition::RepartitionExec,
        sorts::{partial_sort::PartialSortExec, sort::SortExec},
        work_table::WorkTableExec,
    },
};

use super::template::file_scan;
use crate::codec::{SeriesTemplateExec, WorkTableTemplateExec};

type Plan = Arc<dyn ExecutionPlan>;

pub(super) fn normalize(plan: Plan) -> Result<Plan> {
    plan.transform_up(|plan| {
        let replaced = no_files(&plan).or_else(|| whole_sort(&plan));
        match replaced.map_or_else(|| plain_repartition(&plan), |plan| Ok(Some(plan)))? {
            Some(replaced) => Ok(Transformed::yes(replaced)),
            None => known_source(plan),
        }
    })
    .data()
}

/// A scan of no files would be a stage without tasks.
fn no_files(plan: &Plan) -> Option<Plan> {
    let empty = file_scan(plan)?.file_groups.iter().all(|group| group.is_empty());
    empty.then(|| Arc::new(EmptyExec::new(plan.schema())) as Plan)
}

/// A partial sort has no encoding; sorting whole gives the same rows in the same order.
fn whole_sort(plan: &Plan) -> Option<Plan> {
    let sort = plan.downcast_ref::<PartialSortExec>()?;
    let whole = SortExec::new(sort.expr().clone(), sort.input().clone())
        .with_fetch(sort.fetch())
        .with_preserve_partitioning(sort.preserve_partitioning());
    Some(Arc::new(whole))
}

/// An exchange mixes the rows of its maps: the order that a repartition would have kept is made again above it.
fn plain_repartition(plan: &Plan) -> Result<Option<Plan>> {
    let Some(repartition) = plan.downcast_ref::<RepartitionExec>() else { return Ok(None) };
    let (Some(ordering), true) =
        (repartition.properties().output_ordering().cloned(), repartition.preserve_order())
    else {
        return Ok(None);
    };
    let partitioning: Partitioning = repartition.partitioning().clone();
    let plain = RepartitionExec::try_new(repartition.input().clone(), partitioning)?;
    Ok(Some(Arc::new(SortExec::new(ordering, Arc::new(plain)).with_preserve_partitioning(true))))
}

/// Leaves that the codec has to know more of than they tell.
fn known_source(plan: Plan) -> Result<Transformed<Plan>> {
    match SeriesTemplateExec::of(&plan)? {
        Some(series) => Ok(Transformed::yes(Arc::new(series))),
        None => known_work_tables(plan),
    }
}

fn known_work_tables(plan: Plan) -> Result<Transformed<Plan>> {
    let Some(query) = plan.downcast_ref::<RecursiveQueryExec>() else { return Ok(Transformed::no(plan)) };
    let (name, schema): (String, SchemaRef) = (query.name().to_owned(), plan.schema());
    let next =
        query.recursive_term().clone().transform_up(|node| match node.downcast_ref::<WorkTableExec>() {
            Some(table) if table.name() == name => {
                Ok(Transformed::yes(Arc::new(WorkTableTemplateExec::new(table, &schema)?) as Plan))
            }
            _ => Ok(Transformed::no(node)),
        })?;
    let first = query.static_term().clone();
    let query = RecursiveQueryExec::try_new(name, schema, first, next.data, query.is_distinct())?;
    Ok(Transformed::yes(Arc::new(query)))
}
