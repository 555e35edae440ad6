//! Statements that are answered at planning: SHOW, DESCRIBE and queries on the information schema.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use datafusion::{
    common::tree_node::TreeNodeRecursion, logical_expr::LogicalPlan, sql::sqlparser::ast::Ident,
};

use super::{
    bind::{Bound, Query},
    scope::{CATALOG, INFORMATION_SCHEMA},
};
use crate::{
    catalog::{Catalog, TableDefinition},
    error::{SqlError, classify},
    settings::Settings,
};

/// Rows of text columns.
pub fn text_rows(columns: &[&str], rows: Vec<Vec<Option<String>>>) -> Result<Bound, SqlError> {
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = (0..columns.len()).map(|column| {
        let values = rows.iter().map(|row| row.get(column).cloned().flatten());
        Arc::new(values.collect::<StringArray>()) as ArrayRef
    });
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays.collect())
        .map_err(|error| SqlError::sql(error.to_string()))?;
    Ok(Bound::Rows { schema, batches: vec![batch] })
}

pub fn tables(catalog: &Catalog) -> Result<Bound, SqlError> {
    let rows = catalog.iter().map(|(name, definition)| {
        let kind = match definition {
            TableDefinition::External(_) => "BASE TABLE",
            TableDefinition::View { .. } => "VIEW",
        };
        [CATALOG, &name.schema, &name.name, kind].map(|text| Some(text.to_owned())).to_vec()
    });
    text_rows(&["table_catalog", "table_schema", "table_name", "table_type"], rows.collect())
}

/// `SHOW ALL` and `SHOW <setting>`.
pub fn variable(variable: &[Ident], settings: &Settings) -> Result<Bound, SqlError> {
    let name = variable.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
    let all = settings.entries()?;
    let is_all = name.eq_ignore_ascii_case("all");
    let found: Vec<_> = all.iter().filter(|(key, _)| is_all || key.eq_ignore_ascii_case(&name)).collect();
    if found.is_empty() {
        return Err(settings.clone().reset(&name).err().unwrap_or_else(|| SqlError::sql("no such setting")));
    }
    let rows = found.into_iter().map(|(key, value)| vec![Some(key.clone()), value.clone()]).collect();
    text_rows(&["name", "value"], rows)
}

/// What `RESET` goes back to.
pub fn default_value(key: &str) -> Result<String, SqlError> {
    let defaults = Settings::default();
    defaults.clone().reset(key)?;
    let entry = defaults.entries()?.into_iter().find(|(name, _)| name == key);
    entry
        .and_then(|(_, value)| value)
        .ok_or_else(|| SqlError::sql(format!("setting `{key}` has no default value to go back to")))
}

/// Whether a query is only about the catalog. One that mixes it with tables is refused: it could only run here.
pub fn reads_information_schema(plan: &LogicalPlan) -> Result<bool, SqlError> {
    let (mut ours, mut others) = (false, false);
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            match scan.table_name.schema() == Some(INFORMATION_SCHEMA) {
                true => ours = true,
                false => others = true,
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(|error| SqlError::sql(error.to_string()))?;
    match ours && others {
        true => Err(SqlError::sql("a query cannot read the information schema and other tables at once")),
        false => Ok(ours),
    }
}

/// Runs a small query right here.
pub async fn run(query: Query) -> Result<Bound, SqlError> {
    let failed = |error: datafusion::error::DataFusionError| {
        let failure = classify(&error);
        SqlError::new(failure.class, failure.message)
    };
    let plan = query.session.state().create_physical_plan(&query.plan).await.map_err(failed)?;
    let schema = plan.schema();
    let batches = datafusion::physical_plan::collect(plan, query.session.task_ctx()).await.map_err(failed)?;
    Ok(Bound::Rows { schema, batches })
}
