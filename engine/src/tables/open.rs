//! Opening a table for a query.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, Schema};
use datafusion::{
    catalog::TableProvider,
    common::TableReference,
    datasource::{
        file_format::FileFormat as DataFusionFormat,
        listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl},
    },
    error::DataFusionError,
    execution::SessionState,
    logical_expr::SortExpr,
    prelude::{Expr, ident},
};

use super::{
    list::{any_file, no_files, table_urls},
    location::Location,
    named::NamedFormat,
};
use crate::{
    catalog::{ExternalTable, FileFormat, SortColumn, TableName},
    error::SqlError,
};

/// Whether a table has to have files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// It is going to be read.
    Needed,
    /// It is going to be written, or described.
    NotNeeded,
}

/// The table as it is now: its files are listed when a scan of it is planned.
pub async fn open(
    name: &TableName,
    table: &ExternalTable,
    files: Files,
    state: &SessionState,
) -> Result<Arc<dyn TableProvider>, SqlError> {
    let format = file_format(table.format, &table.options, state)?;
    let extension = extension(format.as_ref());
    let mut urls = Vec::new();
    for location in &table.locations {
        let location = Location::resolve(location, None)?;
        let found = table_urls(&location, &extension, state).await?;
        if files == Files::Needed && !table.managed && !any_file(&found, state).await? {
            return Err(no_files(&name.to_string(), &location, &extension, state).await);
        }
        // Stages that only scan are named after it.
        urls.extend(found.into_iter().map(|url| url.with_table_ref(TableReference::bare(name.to_string()))));
    }
    let Some(store) = urls.first().map(ListingTableUrl::object_store) else {
        return Ok(Arc::new(datafusion::datasource::empty::EmptyTable::new(Arc::clone(
            table.schema.arrow(),
        ))));
    };
    let (file_schema, partition_columns) = split_schema(table);
    let options = ListingOptions::new(Arc::new(NamedFormat { inner: format, store }))
        .with_file_extension("")
        .with_table_partition_cols(partition_columns)
        .with_file_sort_order(table.sort_orders.iter().map(|order| sort_exprs(order)).collect());
    let config = ListingTableConfig::new_with_multi_paths(urls)
        .with_listing_options(options)
        .with_schema(Arc::new(file_schema));
    let provider = ListingTable::try_new(config).map_err(|error| broken(name, &error))?;
    Ok(Arc::new(provider))
}

/// DataFusion's format with the table's options.
pub fn file_format(
    format: FileFormat,
    options: &BTreeMap<String, String>,
    state: &SessionState,
) -> Result<Arc<dyn DataFusionFormat>, SqlError> {
    let factory = state
        .get_file_format_factory(format.name())
        .ok_or_else(|| SqlError::sql(format!("files of format `{}` are not supported", format.name())))?;
    let options = options.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    factory.create(state, &options).map_err(|error| {
        SqlError::sql(format!("an option for {} files is wrong: {}", format.name(), error.strip_backtrace()))
    })
}

/// The extension of the format's files, compression included, without the leading dot.
pub fn extension(format: &dyn DataFusionFormat) -> String {
    let compressed =
        format.compression_type().and_then(|compression| format.get_ext_with_compression(&compression).ok());
    compressed.unwrap_or_else(|| format.get_ext()).trim_start_matches('.').to_owned()
}

/// The columns that are in the files, and those that are in folder names.
fn split_schema(table: &ExternalTable) -> (Schema, Vec<(String, DataType)>) {
    let schema = table.schema.arrow();
    let is_partition = |name: &str| table.partition_columns.iter().any(|column| column == name);
    let fields: Vec<_> =
        schema.fields().iter().filter(|field| !is_partition(field.name())).cloned().collect();
    let partitions = table.partition_columns.iter().map(|column| {
        let data_type =
            schema.field_with_name(column).map_or(DataType::Utf8, |field| field.data_type().clone());
        (column.clone(), data_type)
    });
    (Schema::new_with_metadata(fields, schema.metadata().clone()), partitions.collect())
}

fn sort_exprs(order: &[SortColumn]) -> Vec<SortExpr> {
    let column = |column: &SortColumn| -> Expr { ident(column.column.as_str()) };
    order.iter().map(|sort| column(sort).sort(sort.ascending, sort.nulls_first)).collect()
}

fn broken(name: &TableName, error: &DataFusionError) -> SqlError {
    SqlError::sql(format!("table `{name}` cannot be read: {}", error.strip_backtrace()))
}
