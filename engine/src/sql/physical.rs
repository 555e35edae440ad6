//! From a bound statement to stages.

use std::sync::Arc;

use datafusion::{
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties, coalesce_partitions::CoalescePartitionsExec, displayable,
    },
    prelude::SessionContext,
};
use penstock_protocol::task::FailureClass;

use super::{
    PlannedStatement, StatementKind,
    bind::{Binder, Bound, Query, Sink, unsupported},
    explain,
};
use crate::{
    error::SqlError,
    fragment::{self, CutError, RootOutput},
    sink::WriteExec,
    stage_graph::StageGraph,
};

pub async fn plan(binder: &Binder<'_>, bound: Bound) -> Result<PlannedStatement, SqlError> {
    let sql = binder.script.statement_sql(binder.index).to_owned();
    let simple = |kind| PlannedStatement {
        kind,
        sql: sql.clone(),
        logical_plan: String::new(),
        physical_plan: String::new(),
    };
    match bound {
        Bound::Query(query) => plan_query(binder, query, sql).await,
        Bound::Sink(sink) => plan_sink(binder, *sink, sql).await,
        Bound::Catalog { change, .. } => Ok(simple(StatementKind::Catalog(change))),
        Bound::Rows { schema, batches } => Ok(simple(StatementKind::Rows { schema, batches })),
        Bound::Set { key, value } => Ok(simple(StatementKind::Set { key, value })),
        Bound::Explain { inner, distributed } => {
            let inner = Box::pin(plan(binder, *inner)).await?;
            explain::rows(&inner, distributed).map(|kind| PlannedStatement { kind, sql, ..inner })
        }
        Bound::Unknown { .. } => Err(unsupported("a statement whose input does not exist yet")),
    }
}

/// A query's plan before it is cut.
pub async fn query_plan(
    binder: &Binder<'_>,
    bound: Bound,
) -> Result<(Arc<dyn ExecutionPlan>, SessionContext), SqlError> {
    match bound {
        Bound::Query(query) => {
            let optimized = optimize(binder, &query).await?;
            Ok((optimized.physical, query.session))
        }
        _ => Err(unsupported("a plan of anything but a query")),
    }
}

async fn plan_query(binder: &Binder<'_>, query: Query, sql: String) -> Result<PlannedStatement, SqlError> {
    let optimized = optimize(binder, &query).await?;
    let schema = optimized.physical.schema();
    let graph = cut(binder, &optimized.physical, RootOutput::Result)?;
    let physical_plan = shown(&optimized.physical);
    Ok(PlannedStatement {
        kind: StatementKind::Query { graph, schema },
        sql,
        logical_plan: optimized.logical,
        physical_plan,
    })
}

async fn plan_sink(binder: &Binder<'_>, sink: Sink, sql: String) -> Result<PlannedStatement, SqlError> {
    let optimized = optimize(binder, &sink.query).await?;
    let mut input = optimized.physical;
    if sink.spec.single_file.is_some() && input.output_partitioning().partition_count() > 1 {
        input = Arc::new(CoalescePartitionsExec::new(input));
    }
    let write: Arc<dyn ExecutionPlan> = Arc::new(WriteExec::new(input, sink.spec));
    let graph = cut(binder, &write, RootOutput::Files)?;
    let physical_plan = shown(&write);
    Ok(PlannedStatement {
        kind: StatementKind::Sink { graph, sink: sink.target, then: sink.then },
        sql,
        logical_plan: optimized.logical,
        physical_plan,
    })
}

struct Optimized {
    logical: String,
    physical: Arc<dyn ExecutionPlan>,
}

async fn optimize(binder: &Binder<'_>, query: &Query) -> Result<Optimized, SqlError> {
    let state = query.session.state();
    let logical = state.optimize(&query.plan).map_err(|error| binder.locate(&error))?;
    let physical = state.query_planner().create_physical_plan(&logical, &state).await;
    let physical = physical.map_err(|error| binder.locate(&error))?;
    Ok(Optimized { logical: logical.display_indent().to_string(), physical })
}

fn cut(binder: &Binder<'_>, plan: &Arc<dyn ExecutionPlan>, root: RootOutput) -> Result<StageGraph, SqlError> {
    fragment::cut(Arc::clone(plan), root).map_err(|error| match error {
        CutError::Plan(error) => binder.locate(&error),
        CutError::Unsupported { .. } | CutError::TooDeep { .. } => SqlError::sql(error.to_string()),
        CutError::Invalid(reason) => SqlError::new(FailureClass::Internal, format!("{reason}")),
    })
}

fn shown(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(false).to_string()
}
