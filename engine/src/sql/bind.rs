//! What a statement means: its syntax tree bound to tables, sorted into what Penstock can do with it.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::{DataFusionError, TableReference},
    logical_expr::{DdlStatement, LogicalPlan, Statement as PlanStatement, WriteOp},
    prelude::SessionContext,
    sql::{
        parser::{CopyToStatement, Statement},
        sqlparser::ast::{ObjectName, Statement as SqlStatement, TableObject},
    },
};

use super::{
    PlanContext, place,
    scope::{Known, Pending, Scope, table_name},
    show, sinks,
};
use crate::{
    catalog::{CatalogChange, TableDefinition, TableName},
    error::SqlError,
    script::{Parsed, Script},
    session::session,
    sink::{SinkTarget, WriteSpec},
    tables::{self, Files},
};

/// A statement and what it is bound on.
pub struct Binder<'a> {
    pub script: &'a Script,
    pub index: usize,
    pub context: &'a PlanContext,
    pub pending: &'a Pending,
}

/// What to do.
pub enum Bound {
    Query(Query),
    Sink(Box<Sink>),
    Catalog {
        change: CatalogChange,
        schema: Option<SchemaRef>,
    },
    Rows {
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    },
    Set {
        key: String,
        value: String,
    },
    Explain {
        inner: Box<Bound>,
        distributed: bool,
    },
    /// Reads what an earlier statement writes; only met by `validate`. What it creates cannot be known either.
    Unknown {
        creates: Option<TableName>,
    },
}

pub struct Query {
    pub plan: LogicalPlan,
    pub session: SessionContext,
}

/// A query whose rows go to files.
pub struct Sink {
    pub query: Query,
    /// Of the target, partition columns included.
    pub schema: SchemaRef,
    pub spec: WriteSpec,
    pub target: SinkTarget,
    pub then: Option<CatalogChange>,
}

impl Bound {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Query(_) => "query",
            Self::Sink(_) => "sink",
            Self::Catalog { .. } => "catalog",
            Self::Rows { .. } | Self::Explain { .. } => "rows",
            Self::Set { .. } => "set",
            Self::Unknown { .. } => "unknown",
        }
    }

    pub fn schema(&self) -> Option<SchemaRef> {
        match self {
            Self::Query(query) => Some(query.plan.schema().inner().clone()),
            Self::Rows { schema, .. } => Some(schema.clone()),
            _ => None,
        }
    }
}

impl Binder<'_> {
    /// Also finds what only the optimizer does, such as types that do not fit.
    pub async fn bind_and_check(&self) -> Result<Bound, SqlError> {
        let bound = self.bind().await?;
        let query = match &bound {
            Bound::Query(query) => Some(query),
            Bound::Sink(sink) => Some(&sink.query),
            _ => None,
        };
        if let Some(query) = query {
            query.session.state().optimize(&query.plan).map_err(|error| self.locate(&error))?;
        }
        Ok(bound)
    }

    pub async fn bind(&self) -> Result<Bound, SqlError> {
        match self.script.parsed(self.index, &self.context.parameters)? {
            Parsed::Statement(statement) => self.bind_statement(*statement).await,
            Parsed::ExplainDistributed(statement) => {
                let inner = Box::pin(self.bind_statement(*statement)).await?;
                Ok(Bound::Explain { inner: Box::new(inner), distributed: true })
            }
        }
    }

    async fn bind_statement(&self, statement: Statement) -> Result<Bound, SqlError> {
        let session = session(&self.context.settings, &self.context.env)?;
        match statement {
            Statement::Explain(explain) if !explain.options.analyze => {
                let inner = Box::pin(self.bind_statement(*explain.statement)).await?;
                Ok(Bound::Explain { inner: Box::new(inner), distributed: false })
            }
            Statement::Explain(_) => Err(unsupported("EXPLAIN ANALYZE")),
            Statement::CopyTo(copy) => self.bind_copy(copy, session).await,
            Statement::CreateExternalTable(_) => self.bind_external_table(statement, session).await,
            Statement::Reset(_) => self.bind_set(statement, session).await,
            Statement::Statement(ref sql) => match sql.as_ref() {
                SqlStatement::Set(_) => self.bind_set(statement, session).await,
                SqlStatement::ShowVariable { variable } => show::variable(variable, &self.context.settings),
                SqlStatement::ShowTables { .. } => show::tables(&self.context.catalog),
                SqlStatement::Drop { .. } => self.bind_drop(statement, session).await,
                SqlStatement::CreateTable(create) if create.query.is_none() => {
                    self.bind_empty_table(statement, session).await
                }
                SqlStatement::Insert(insert) => {
                    let target = match &insert.table {
                        TableObject::TableName(name) => name.clone(),
                        other => return Err(unsupported(&format!("INSERT INTO {other}"))),
                    };
                    self.bind_insert(statement, &target, session).await
                }
                _ => self.bind_any(statement, session).await,
            },
        }
    }

    /// Statements whose kind the bound plan tells.
    async fn bind_any(&self, statement: Statement, session: SessionContext) -> Result<Bound, SqlError> {
        let text = statement.to_string();
        let creates = created_name(&statement);
        let Some(plan) = self.logical_plan(statement, &session).await? else {
            return Ok(Bound::Unknown { creates });
        };
        match plan {
            LogicalPlan::Ddl(DdlStatement::CreateView(view)) => {
                let sql = view.definition.clone().unwrap_or_else(|| text.clone());
                let change = CatalogChange::Create {
                    name: own_name(&view.name)?,
                    definition: TableDefinition::View { sql, statement: text },
                    or_replace: view.or_replace,
                    if_not_exists: false,
                };
                self.checked_change(change, Some(view.input.schema().inner().clone()))
            }
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
                sinks::create_table_as(self, create, text, session)
            }
            LogicalPlan::DescribeTable(_) => show::run(Query { plan, session }).await,
            LogicalPlan::Ddl(other) => Err(unsupported(other.name())),
            LogicalPlan::Statement(other) => Err(unsupported(other.name())),
            LogicalPlan::Dml(other) => Err(unsupported(&other.op.to_string())),
            plan => match show::reads_information_schema(&plan)? {
                true => show::run(Query { plan, session }).await,
                false => Ok(Bound::Query(Query { plan, session })),
            },
        }
    }

    async fn bind_copy(&self, copy: CopyToStatement, session: SessionContext) -> Result<Bound, SqlError> {
        let statement = Statement::CopyTo(copy);
        let Some(plan) = self.logical_plan(statement, &session).await? else {
            return Ok(Bound::Unknown { creates: None });
        };
        match plan {
            LogicalPlan::Copy(copy) => sinks::copy_to(self, copy, session),
            _ => Err(unsupported("this COPY")),
        }
    }

    async fn bind_insert(
        &self,
        statement: Statement,
        target: &ObjectName,
        session: SessionContext,
    ) -> Result<Bound, SqlError> {
        // The target needs no files; what the query reads does, also if it is the target itself.
        let Statement::Statement(sql) = &statement else { return Err(unsupported("this INSERT")) };
        if let SqlStatement::Insert(insert) = sql.as_ref()
            && let Some(source) = &insert.source
        {
            let query = Statement::Statement(Box::new(SqlStatement::Query(source.clone())));
            if self.open_tables(&query, &session, Files::Needed).await? == Known::NotYet {
                return Ok(Bound::Unknown { creates: None });
            }
        }
        let target = TableReference::parse_str(&target.to_string());
        let scope = self.scope(&session);
        if scope.open(&[target], Files::NotNeeded).await? == Known::NotYet {
            return Ok(Bound::Unknown { creates: None });
        }
        let plan = session.state().statement_to_plan(statement).await.map_err(|error| self.locate(&error))?;
        match plan {
            LogicalPlan::Dml(dml) => match dml.op {
                WriteOp::Insert(op) => sinks::insert(self, &dml, op, session),
                ref other => Err(unsupported(&other.to_string())),
            },
            _ => Err(unsupported("this INSERT")),
        }
    }

    async fn bind_external_table(
        &self,
        statement: Statement,
        session: SessionContext,
    ) -> Result<Bound, SqlError> {
        let plan = session.state().statement_to_plan(statement).await.map_err(|error| self.locate(&error))?;
        let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(create)) = plan else {
            return Err(unsupported("this CREATE EXTERNAL TABLE"));
        };
        let name = own_name(&create.name)?;
        let base = self.context.base_url.as_deref();
        let is_written_later = create.schema.fields().is_empty()
            && create.locations.iter().any(|location| {
                tables::Location::resolve(location, base)
                    .is_ok_and(|location| self.pending.writes_to(location.url.as_str()))
            });
        if is_written_later {
            return Ok(Bound::Unknown { creates: Some(name) });
        }
        let sql = self.script.statement_sql(self.index);
        let table = tables::define(&create, sql, base, &session.state()).await?;
        let schema = table.schema.arrow().clone();
        let change = CatalogChange::Create {
            name,
            definition: TableDefinition::External(table),
            or_replace: create.or_replace,
            if_not_exists: create.if_not_exists,
        };
        self.checked_change(change, Some(schema))
    }

    async fn bind_empty_table(
        &self,
        statement: Statement,
        session: SessionContext,
    ) -> Result<Bound, SqlError> {
        let text = statement.to_string();
        let plan = session.state().statement_to_plan(statement).await.map_err(|error| self.locate(&error))?;
        match plan {
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
                sinks::create_empty(self, &create, text)
            }
            _ => Err(unsupported("this CREATE TABLE")),
        }
    }

    async fn bind_drop(&self, statement: Statement, session: SessionContext) -> Result<Bound, SqlError> {
        let plan = session.state().statement_to_plan(statement).await.map_err(|error| self.locate(&error))?;
        let (name, if_exists, is_view) = match plan {
            LogicalPlan::Ddl(DdlStatement::DropTable(drop)) => (own_name(&drop.name)?, drop.if_exists, false),
            LogicalPlan::Ddl(DdlStatement::DropView(drop)) => (own_name(&drop.name)?, drop.if_exists, true),
            _ => return Err(unsupported("DROP of anything but tables and views")),
        };
        match (self.context.catalog.get(&name), is_view) {
            (Some(TableDefinition::View { .. }), false) => {
                Err(SqlError::sql(format!("`{name}` is a view"))
                    .with_suggestion(format!("use DROP VIEW {name}")))
            }
            (Some(TableDefinition::External(_)), true) => Err(SqlError::sql(format!("`{name}` is a table"))
                .with_suggestion(format!("use DROP TABLE {name}"))),
            (None, _) if self.pending.tables.contains_key(&name) => {
                Ok(Bound::Catalog { change: CatalogChange::Drop { name, if_exists: true }, schema: None })
            }
            (None, _) if !if_exists => {
                let error = DataFusionError::Plan(format!("table '{name}' not found"));
                Err(self.locate(&error))
            }
            _ => Ok(Bound::Catalog { change: CatalogChange::Drop { name, if_exists }, schema: None }),
        }
    }

    async fn bind_set(&self, statement: Statement, session: SessionContext) -> Result<Bound, SqlError> {
        let plan = session.state().statement_to_plan(statement).await.map_err(|error| self.locate(&error))?;
        let (key, value) = match plan {
            LogicalPlan::Statement(PlanStatement::SetVariable(set)) => (set.variable, set.value),
            LogicalPlan::Statement(PlanStatement::ResetVariable(reset)) => {
                let default = show::default_value(&reset.variable)?;
                (reset.variable, default)
            }
            _ => return Err(unsupported("this SET")),
        };
        self.context.settings.clone().set(&key, &value)?;
        Ok(Bound::Set { key, value })
    }

    /// A change that can be applied now; later, when the statement ended, it may still clash with another job's.
    pub fn checked_change(
        &self,
        change: CatalogChange,
        schema: Option<SchemaRef>,
    ) -> Result<Bound, SqlError> {
        let mut catalog = self.context.catalog.clone();
        change.apply(&mut catalog).map_err(|error| SqlError::sql(error.to_string()))?;
        Ok(Bound::Catalog { change, schema })
    }

    async fn logical_plan(
        &self,
        statement: Statement,
        session: &SessionContext,
    ) -> Result<Option<LogicalPlan>, SqlError> {
        if self.open_tables(&statement, session, Files::Needed).await? == Known::NotYet {
            return Ok(None);
        }
        let plan = session.state().statement_to_plan(statement).await;
        plan.map(Some).map_err(|error| self.locate(&error))
    }

    async fn open_tables(
        &self,
        statement: &Statement,
        session: &SessionContext,
        files: Files,
    ) -> Result<Known, SqlError> {
        let mut references =
            session.state().resolve_table_references(statement).map_err(|error| self.locate(&error))?;
        if let Statement::Statement(sql) = statement
            && let SqlStatement::CreateView(view) = sql.as_ref()
        {
            // A view that is replaced is not read, and may be broken.
            let own = TableReference::parse_str(&view.name.to_string());
            references.retain(|reference| table_name(reference) != table_name(&own));
        }
        self.scope(session).open(&references, files).await
    }

    fn scope<'a>(&'a self, session: &'a SessionContext) -> Scope<'a> {
        Scope { session, catalog: &self.context.catalog, pending: self.pending }
    }

    pub fn locate(&self, error: &DataFusionError) -> SqlError {
        place::locate(error, self.script, self.index, &self.context.catalog)
    }
}

/// What a statement would create.
fn created_name(statement: &Statement) -> Option<TableName> {
    let Statement::Statement(sql) = statement else { return None };
    let name = match sql.as_ref() {
        SqlStatement::CreateView(view) => &view.name,
        SqlStatement::CreateTable(create) => &create.name,
        _ => return None,
    };
    table_name(&TableReference::parse_str(&name.to_string()))
}

/// The name in our catalog.
pub fn own_name(reference: &TableReference) -> Result<TableName, SqlError> {
    table_name(reference).ok_or_else(|| {
        SqlError::sql(format!(
            "`{reference}` is in another catalog; there is only `{}`",
            super::scope::CATALOG
        ))
    })
}

pub fn unsupported(what: &str) -> SqlError {
    SqlError::sql(format!("{what} is not supported"))
}
