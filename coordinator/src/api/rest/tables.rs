//! `/tables`: the catalog.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use penstock_engine::{
    catalog::{TableDefinition, TableName},
    nearest::did_you_mean,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    error::{ApiError, ErrorBody},
    sql::ColumnView,
};
use crate::{
    api::Api,
    secrets::{mask_script, masked},
};

#[derive(Debug, Serialize, ToSchema)]
pub struct TableList {
    tables: Vec<TableView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TableView {
    schema: String,
    name: String,
    /// `external` or `view`.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    locations: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partition_columns: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    columns: Vec<ColumnView>,
    /// The statement that created it.
    statement: String,
}

/// All tables and views.
#[utoipa::path(get, path = "/api/v1/tables", tag = "tables", responses((status = 200, body = TableList)))]
pub async fn list(State(api): State<Api>) -> Json<TableList> {
    let catalog = api.effects().tables.snapshot();
    Json(TableList { tables: catalog.iter().map(|(name, definition)| view(name, definition)).collect() })
}

/// One table or view: `name` or `schema.name`.
#[utoipa::path(get, path = "/api/v1/tables/{name}", tag = "tables", params(("name" = String, Path)), responses(
    (status = 200, body = TableView), (status = 404, body = ErrorBody),
))]
pub async fn show(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<TableView>, ApiError> {
    let catalog = api.effects().tables.snapshot();
    let Ok(wanted) = name.parse::<TableName>();
    match catalog.get(&wanted) {
        Some(definition) => Ok(Json(view(&wanted, definition))),
        None => {
            let names: Vec<String> = catalog.keys().map(ToString::to_string).collect();
            Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_table", format!("there is no table `{name}`"))
                .with_advice_if(did_you_mean(&name, names.iter().map(String::as_str))))
        }
    }
}

fn view(name: &TableName, definition: &TableDefinition) -> TableView {
    let mut view = TableView {
        schema: name.schema.clone(),
        name: name.name.clone(),
        kind: "view",
        format: None,
        locations: Vec::new(),
        partition_columns: Vec::new(),
        options: BTreeMap::new(),
        columns: Vec::new(),
        statement: String::new(),
    };
    match definition {
        TableDefinition::View { statement, .. } => view.statement = mask_script(statement),
        TableDefinition::External(table) => {
            view.kind = "external";
            view.format = Some(table.format.name());
            view.locations.clone_from(&table.locations);
            view.partition_columns.clone_from(&table.partition_columns);
            view.options = masked(table.options.iter());
            view.columns = columns(table.schema.arrow());
            view.statement = mask_script(&table.statement);
        }
    }
    view
}

fn columns(schema: &arrow::datatypes::Schema) -> Vec<ColumnView> {
    let column = |field: &arrow::datatypes::FieldRef| ColumnView {
        name: field.name().clone(),
        data_type: field.data_type().to_string(),
    };
    schema.fields().iter().map(column).collect()
}
