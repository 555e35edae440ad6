//! From a script to plans: binds statements against the catalog, optimises them and cuts them into stages.
//!
//! Everything here runs before anything of the job does. Mistakes come back as [`SqlError`] with their place.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::execution::runtime_env::RuntimeEnv;
use penstock_protocol::ids::JobId;

use crate::{
    catalog::{Catalog, CatalogChange},
    parameters::Parameters,
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
    /// Where `CREATE TABLE AS` puts its files.
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
    Query { graph: StageGraph, schema: SchemaRef },
    /// Runs, publishes, then changes the catalog.
    Sink { graph: StageGraph, sink: SinkTarget, then: Option<CatalogChange> },
    Catalog(CatalogChange),
    /// The answer is known already: EXPLAIN, SHOW, DESCRIBE.
    Rows { schema: SchemaRef, batches: Vec<RecordBatch> },
    /// Holds for the following statements of the job.
    Set { key: String, value: String },
}

/// Checks and binds all statements in order, each on the catalog and settings that its predecessors would leave.
/// Reads schemas of files, runs nothing.
pub async fn validate(_script: &Script, _context: &PlanContext) -> Result<(), SqlError> {
    Err(SqlError::sql("not there yet"))
}

/// Plans one statement on the catalog and settings of `context`.
pub async fn plan_statement(
    _script: &Script,
    _index: usize,
    _context: &PlanContext,
) -> Result<PlannedStatement, SqlError> {
    Err(SqlError::sql("not there yet"))
}
