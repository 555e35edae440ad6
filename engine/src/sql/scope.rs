//! Which tables a statement sees: opens those that it names, and what their views name.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    catalog::{MemorySchemaProvider, TableProvider},
    common::TableReference,
    datasource::{ViewTable, empty::EmptyTable},
    logical_expr::{DdlStatement, LogicalPlan},
    prelude::SessionContext,
};
use futures::{FutureExt, future::BoxFuture};

use super::place;
use crate::{
    catalog::{Catalog, DEFAULT_SCHEMA, TableDefinition, TableName},
    error::SqlError,
    parameters::Parameters,
    script::{Parsed, Script},
    tables::{self, Files},
};

/// The only catalog.
pub const CATALOG: &str = "penstock";
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// Views in views, at most.
const VIEW_DEPTH_MAX: usize = 32;

/// What earlier statements of a script will have done by the time a statement runs; empty when it does run.
#[derive(Debug, Default)]
pub struct Pending {
    /// Tables without files yet; without a schema if nobody can know it before.
    pub tables: BTreeMap<TableName, Option<SchemaRef>>,
    /// Folders that get files.
    pub written: Vec<String>,
}

impl Pending {
    pub fn writes_to(&self, location: &str) -> bool {
        self.written
            .iter()
            .any(|folder| location.starts_with(folder.as_str()) || folder.starts_with(location))
    }
}

/// Whether a statement can be bound now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Yes,
    /// It reads a table whose columns only an earlier statement's files will tell.
    NotYet,
}

pub struct Scope<'a> {
    pub session: &'a SessionContext,
    pub catalog: &'a Catalog,
    pub pending: &'a Pending,
}

impl Scope<'_> {
    /// Opens the named tables. Names that nobody knows are left to the binder, which says where they are.
    pub async fn open(&self, references: &[TableReference], files: Files) -> Result<Known, SqlError> {
        let mut known = Known::Yes;
        for reference in references {
            if reference.schema() == Some(INFORMATION_SCHEMA) {
                self.open_all().await;
            } else if let Some(name) = table_name(reference)
                && self.open_table(&name, files, 0).await? == Known::NotYet
            {
                known = Known::NotYet;
            }
        }
        Ok(known)
    }

    /// For lists of all tables: one that cannot be opened is left out of them.
    async fn open_all(&self) {
        for name in self.catalog.keys() {
            if let Err(error) = self.open_table(name, Files::NotNeeded, 0).await {
                tracing::debug!(table = %name, %error, "a table is left out of the information schema");
            }
        }
    }

    fn open_table<'a>(
        &'a self,
        name: &'a TableName,
        files: Files,
        depth: usize,
    ) -> BoxFuture<'a, Result<Known, SqlError>> {
        async move {
            let provider: Arc<dyn TableProvider> =
                match (self.pending.tables.get(name), self.catalog.get(name)) {
                    (Some(None), _) => return Ok(Known::NotYet),
                    (Some(Some(schema)), _) => Arc::new(EmptyTable::new(Arc::clone(schema))),
                    (None, None) => return Ok(Known::Yes),
                    (None, Some(TableDefinition::External(table))) => {
                        tables::open(name, table, files, &self.session.state()).await?
                    }
                    (None, Some(TableDefinition::View { statement, .. })) => {
                        match self.view(name, statement, depth).await? {
                            Some(view) => view,
                            None => return Ok(Known::NotYet),
                        }
                    }
                };
            self.register(name, provider)?;
            Ok(Known::Yes)
        }
        .boxed()
    }

    async fn view(
        &self,
        name: &TableName,
        statement: &str,
        depth: usize,
    ) -> Result<Option<Arc<dyn TableProvider>>, SqlError> {
        if depth >= VIEW_DEPTH_MAX {
            return Err(SqlError::sql(format!("view `{name}` is defined by itself, or too many views deep")));
        }
        let in_view = |error: SqlError| SqlError {
            message: format!("view `{name}`: {}", error.message),
            line: None,
            column: None,
            source_line: None,
            ..error
        };
        let script = Script::parse(statement).map_err(in_view)?;
        let Parsed::Statement(parsed) = script.parsed(0, &Parameters::new()).map_err(in_view)? else {
            return Err(SqlError::sql(format!("view `{name}` is damaged")));
        };
        let state = self.session.state();
        let references = state
            .resolve_table_references(&parsed)
            .map_err(|error| in_view(SqlError::sql(error.to_string())))?;
        // The view's own name is among them.
        for reference in references.iter().filter_map(table_name).filter(|other| other != name) {
            if self.open_table(&reference, Files::Needed, depth + 1).await? == Known::NotYet {
                return Ok(None);
            }
        }
        let plan = state.statement_to_plan(*parsed).await;
        match plan.map_err(|error| in_view(place::locate(&error, &script, 0, self.catalog)))? {
            LogicalPlan::Ddl(DdlStatement::CreateView(view)) => {
                let plan = Arc::unwrap_or_clone(view.input);
                Ok(Some(Arc::new(ViewTable::new(plan, Some(statement.to_owned())))))
            }
            _ => Err(SqlError::sql(format!("view `{name}` is damaged"))),
        }
    }

    fn register(&self, name: &TableName, provider: Arc<dyn TableProvider>) -> Result<(), SqlError> {
        let internal = |error: datafusion::error::DataFusionError| SqlError::sql(error.strip_backtrace());
        let catalog =
            self.session.catalog(CATALOG).ok_or_else(|| SqlError::sql("the session has no catalog"))?;
        let schema = match catalog.schema(&name.schema) {
            Some(schema) => schema,
            None => {
                let schema = Arc::new(MemorySchemaProvider::new());
                catalog.register_schema(&name.schema, schema.clone()).map_err(internal)?;
                schema
            }
        };
        if !schema.table_exist(&name.name) {
            schema.register_table(name.name.clone(), provider).map_err(internal)?;
        }
        Ok(())
    }
}

/// The catalog's name for a reference; none if it is about another catalog.
pub fn table_name(reference: &TableReference) -> Option<TableName> {
    match reference.catalog() {
        None | Some(CATALOG) => {
            Some(TableName::new(reference.schema().unwrap_or(DEFAULT_SCHEMA), reference.table()))
        }
        Some(_) => None,
    }
}
