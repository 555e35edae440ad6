//! From a script to plans: binds statements against the catalog, optimises them and cuts them into stages.
//!
//! Everything here runs before anything of the job does. Mistakes come back as [`SqlError`] with their place; a panic
//! inside the planner is one too.

mod bind;
mod explain;
mod physical;
mod place;
mod scope;
mod show;
mod sinks;

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{execution::runtime_env::RuntimeEnv, physical_plan::ExecutionPlan, prelude::SessionContext};
use futures::FutureExt;
use penstock_protocol::{ids::JobId, task::FailureClass};

use self::{
    bind::{Binder, Bound},
    scope::Pending,
};
use crate::{
    catalog::{Catalog, CatalogChange, TableDefinition},
    parameters::{self, Parameters},
    settings::Settings,
    sink::SinkTarget,
    stage_graph::StageGraph,
};

pub use crate::{error::SqlError, script::Script};

/// What planning may look at. Equal contexts and files give equal plans.
#[derive(Debug, Clone)]
pub struct PlanContext {
    pub settings: Settings,
    /// As of the start of the statement.
    pub catalog: Catalog,
    pub parameters: Parameters,
    /// Where relative locations start: the client's folder, as a URL that ends in `/`.
    pub base_url: Option<String>,
    /// Where `CREATE TABLE AS` puts its files: a URL that ends in `/`.
    pub warehouse_url: String,
    pub env: Arc<RuntimeEnv>,
    pub job: JobId,
}

/// A statement that can be carried out.
#[derive(Debug)]
pub struct PlannedStatement {
    pub kind: StatementKind,
    pub sql: String,
    /// As `EXPLAIN` prints it; empty for statements that have none.
    pub logical_plan: String,
    pub physical_plan: String,
}

#[derive(Debug)]
pub enum StatementKind {
    Query {
        graph: StageGraph,
        schema: SchemaRef,
    },
    /// Runs, publishes, then changes the catalog.
    Sink {
        graph: StageGraph,
        sink: SinkTarget,
        then: Option<CatalogChange>,
    },
    Catalog(CatalogChange),
    /// The answer is known already: EXPLAIN, SHOW, DESCRIBE.
    Rows {
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    },
    /// Holds for the following statements of the job.
    Set {
        key: String,
        value: String,
    },
}

impl StatementKind {
    /// One word for status pages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Query { .. } => "query",
            Self::Sink { .. } => "sink",
            Self::Catalog(_) => "catalog",
            Self::Rows { .. } => "rows",
            Self::Set { .. } => "set",
        }
    }
}

/// What a statement is, as far as binding tells.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedStatement {
    pub sql: String,
    pub kind: &'static str,
    /// Columns of its rows; none if it has no rows, or if they depend on files that an earlier statement writes.
    pub schema: Option<SchemaRef>,
}

/// Checks and binds all statements in order, each on the catalog and settings that its predecessors would leave.
/// Reads schemas of files, runs nothing.
pub async fn validate(script: &Script, context: &PlanContext) -> Result<Vec<ValidatedStatement>, SqlError> {
    parameters::check(script, &context.parameters)?;
    let mut context = context.clone();
    let mut pending = Pending::default();
    let mut validated = Vec::with_capacity(script.len());
    for index in 0..script.len() {
        let binder = Binder { script, index, context: &context, pending: &pending };
        let bound = guarded(binder.bind_and_check()).await.map_err(|error| located(error, script, index))?;
        validated.push(ValidatedStatement {
            sql: script.statement_sql(index).to_owned(),
            kind: bound.name(),
            schema: bound.schema(),
        });
        carry_over(&bound, &mut context, &mut pending).map_err(|error| located(error, script, index))?;
    }
    Ok(validated)
}

/// Plans one statement on the catalog and settings of `context`.
pub async fn plan_statement(
    script: &Script,
    index: usize,
    context: &PlanContext,
) -> Result<PlannedStatement, SqlError> {
    let pending = Pending::default();
    let binder = Binder { script, index, context, pending: &pending };
    let planned = async {
        let bound = binder.bind().await?;
        physical::plan(&binder, bound).await
    };
    guarded(planned).await.map_err(|error| located(error, script, index))
}

/// The optimised physical plan of a query in one process, and the session to run it in: what answers are compared with.
pub async fn optimized_plan(
    script: &Script,
    index: usize,
    context: &PlanContext,
) -> Result<(Arc<dyn ExecutionPlan>, SessionContext), SqlError> {
    let pending = Pending::default();
    let binder = Binder { script, index, context, pending: &pending };
    let planned = async { physical::query_plan(&binder, binder.bind().await?).await };
    guarded(planned).await.map_err(|error| located(error, script, index))
}

/// What the following statements see.
fn carry_over(bound: &Bound, context: &mut PlanContext, pending: &mut Pending) -> Result<(), SqlError> {
    match bound {
        Bound::Set { key, value } => context.settings.set(key, value),
        Bound::Catalog { change, schema } => carry_change(change, schema.clone(), context, pending),
        Bound::Sink(sink) => {
            let file = sink.spec.single_file.as_deref().unwrap_or_default();
            pending.written.push(format!("{}{file}", sink.target.target_url));
            match &sink.then {
                Some(change) => carry_change(change, Some(Arc::clone(&sink.schema)), context, pending),
                None => Ok(()),
            }
        }
        Bound::Unknown { creates } => {
            pending.tables.extend(creates.clone().map(|name| (name, None)));
            Ok(())
        }
        Bound::Query(_) | Bound::Rows { .. } | Bound::Explain { .. } => Ok(()),
    }
}

fn carry_change(
    change: &CatalogChange,
    schema: Option<SchemaRef>,
    context: &mut PlanContext,
    pending: &mut Pending,
) -> Result<(), SqlError> {
    change.apply(&mut context.catalog).map_err(|error| SqlError::sql(error.to_string()))?;
    match change {
        CatalogChange::Create { name, definition: TableDefinition::External(table), .. } => {
            let is_written_later = table.locations.iter().any(|location| pending.writes_to(location));
            if table.managed || is_written_later {
                pending.tables.insert(name.clone(), schema);
            }
        }
        CatalogChange::Create { .. } => {}
        CatalogChange::Drop { name, .. } => {
            pending.tables.remove(name);
        }
    }
    Ok(())
}

/// An error that has no place yet points at the start of its statement.
fn located(error: SqlError, script: &Script, index: usize) -> SqlError {
    match script.statement(index) {
        Ok(statement) => error.at(script.text(), statement.start),
        Err(_) => error,
    }
}

/// A panic of the planner is a bug that must not take the coordinator with it.
async fn guarded<T>(work: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(SqlError::new(FailureClass::Internal, format!("the planner failed: {text}")))
    })
}
