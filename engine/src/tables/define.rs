//! From `CREATE EXTERNAL TABLE` to a complete definition: locations, partition columns, schema.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    datasource::{
        file_format::FileFormat as DataFusionFormat,
        listing::{ListingOptions, ListingTableUrl},
    },
    execution::SessionState,
    logical_expr::{CreateExternalTable, Expr, SortExpr},
};
use futures::TryStreamExt;
use object_store::ObjectMeta;

use super::{
    list::{any_file, no_files, table_urls},
    location::Location,
    open::{extension, file_format},
};
use crate::{
    catalog::{ExternalTable, FileFormat, SortColumn, TableSchema},
    error::{SqlError, classify, damaged},
    nearest::did_you_mean,
    stores::shown,
};

/// Reads the schema from the files unless the statement declares one. `statement` is kept for people to see.
pub async fn define(
    create: &CreateExternalTable,
    statement: &str,
    base_url: Option<&str>,
    state: &SessionState,
) -> Result<ExternalTable, SqlError> {
    refuse_unsupported(create)?;
    let format = parse_format(&create.file_type)?;
    let options = create.options.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let reader = file_format(format, &options, state)?;
    let extension = extension(reader.as_ref());
    let mut locations = Vec::new();
    let mut urls = Vec::new();
    for location in &create.locations {
        let location = Location::resolve(location, base_url)?;
        let found = table_urls(&location, &extension, state).await?;
        let is_declared = !create.schema.fields().is_empty();
        if !is_declared && !any_file(&found, state).await? {
            return Err(no_files(&create.name.to_string(), &location, &extension, state).await);
        }
        urls.extend(found);
        locations.push(location);
    }
    check_one_store(&urls)?;
    let (partition_columns, schema) = schema(create, &reader, &urls, state).await?;
    check_partitioned(&partition_columns, &locations)?;
    Ok(ExternalTable {
        format,
        locations: locations.iter().map(Location::to_string).collect(),
        options,
        partition_columns,
        sort_orders: create
            .order_exprs
            .iter()
            .map(|order| sort_order(order, &schema))
            .collect::<Result<_, _>>()?,
        schema: TableSchema::new(schema),
        managed: false,
        statement: statement.to_owned(),
    })
}

fn refuse_unsupported(create: &CreateExternalTable) -> Result<(), SqlError> {
    let what = match create {
        _ if create.temporary => "TEMPORARY tables",
        _ if create.unbounded => "UNBOUNDED tables",
        _ if !create.column_defaults.is_empty() => "column defaults",
        _ => return Ok(()),
    };
    Err(SqlError::sql(format!("{what} are not supported")))
}

fn parse_format(name: &str) -> Result<FileFormat, SqlError> {
    FileFormat::parse(name).ok_or_else(|| {
        let mut error = SqlError::sql(format!("there is no file format `{}`", name.to_lowercase()));
        let known = FileFormat::ALL.map(FileFormat::name);
        error.suggestion = did_you_mean(name, known)
            .or_else(|| Some(format!("tables can be stored as {}", known.join(", "))));
        error
    })
}

fn check_one_store(urls: &[ListingTableUrl]) -> Result<(), SqlError> {
    let mut stores = urls.iter().map(ListingTableUrl::object_store);
    let Some(first) = stores.next() else { return Ok(()) };
    match stores.find(|store| *store != first) {
        Some(other) => Err(SqlError::sql(format!(
            "the locations of a table are in one store, not in {first} and {other}"
        ))),
        None => Ok(()),
    }
}

/// Partition columns and the schema of all columns, partition columns last.
async fn schema(
    create: &CreateExternalTable,
    format: &Arc<dyn DataFusionFormat>,
    urls: &[ListingTableUrl],
    state: &SessionState,
) -> Result<(Vec<String>, SchemaRef), SqlError> {
    let declared = create.schema.as_arrow();
    if declared.fields().is_empty() {
        let names = partition_names(create, format, urls, state).await?;
        let files = infer_schema(&create.name.to_string(), format, urls, state).await?;
        let data_type = DataType::Dictionary(DataType::UInt16.into(), DataType::Utf8.into());
        let partitions: Vec<Field> =
            names.iter().map(|name| Field::new(name, data_type.clone(), false)).collect();
        let schema = with_partitions(&files, partitions);
        return Ok((names, schema));
    }
    let names = create.table_partition_cols.clone();
    let partitions =
        names.iter().map(|name| declared_field(declared, name)).collect::<Result<Vec<_>, _>>()?;
    Ok((names, with_partitions(declared, partitions)))
}

fn declared_field(schema: &Schema, name: &str) -> Result<Field, SqlError> {
    schema.field_with_name(name).cloned().map_err(|_| {
        let mut error = SqlError::sql(format!("partition column `{name}` is not among the columns"));
        error.suggestion = did_you_mean(name, schema.fields().iter().map(|field| field.name().as_str()));
        error
    })
}

fn with_partitions(schema: &Schema, partitions: Vec<Field>) -> SchemaRef {
    let is_partition = |name: &str| partitions.iter().any(|field| field.name() == name);
    let files = schema
        .fields()
        .iter()
        .filter(|field| !is_partition(field.name()))
        .map(|field| field.as_ref().clone());
    let fields: Vec<Field> = files.chain(partitions.iter().cloned()).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// As declared; else those of the folders.
async fn partition_names(
    create: &CreateExternalTable,
    format: &Arc<dyn DataFusionFormat>,
    urls: &[ListingTableUrl],
    state: &SessionState,
) -> Result<Vec<String>, SqlError> {
    if !create.table_partition_cols.is_empty() {
        return Ok(create.table_partition_cols.clone());
    }
    let Some(url) = urls.iter().find(|url| url.is_collection()) else { return Ok(Vec::new()) };
    let options = ListingOptions::new(Arc::clone(format)).with_file_extension("");
    options.infer_partitions(state, url).await.map_err(|error| {
        let failure = classify(&error);
        SqlError::new(
            failure.class,
            format!("the partitions of `{}` are unclear: {}", create.name, failure.message),
        )
    })
}

fn check_partitioned(columns: &[String], locations: &[Location]) -> Result<(), SqlError> {
    let crosses_folders = |pattern: &String| pattern.contains('/') || pattern.contains("**");
    let unfit = locations
        .iter()
        .find(|location| !location.is_folder() || location.pattern.as_ref().is_some_and(crosses_folders));
    match unfit {
        Some(location) if !columns.is_empty() => Err(SqlError::sql(format!(
            "a table partitioned by folders needs a folder as its location, not `{location}`"
        ))),
        _ => Ok(()),
    }
}

async fn infer_schema(
    table: &str,
    format: &Arc<dyn DataFusionFormat>,
    urls: &[ListingTableUrl],
    state: &SessionState,
) -> Result<Schema, SqlError> {
    let mut schemas: Vec<Schema> = Vec::new();
    for url in urls {
        let store =
            state.runtime_env().object_store(url).map_err(|error| named(table, url.as_str(), &error))?;
        let files: Vec<ObjectMeta> = match url.list_all_files(state, store.as_ref(), "").await {
            Ok(files) => files.try_filter(|file| futures::future::ready(file.size > 0)).try_collect().await,
            Err(error) => Err(error),
        }
        .map_err(|error| named(table, url.as_str(), &error))?;
        match read_schema(format, state, &store, &files).await {
            Ok(schema) => schemas.push(schema.as_ref().clone()),
            Err(error) => return Err(blame_file(table, format, url, &files, error, state).await),
        }
    }
    Schema::try_merge(schemas).map_err(|error| {
        SqlError::data(format!("the locations of table `{table}` have different columns: {error}"))
    })
}

/// A reader that panics on damaged bytes, as Parquet's does on some footers, could not read them either.
async fn read_schema(
    format: &Arc<dyn DataFusionFormat>,
    state: &SessionState,
    store: &Arc<dyn object_store::ObjectStore>,
    files: &[ObjectMeta],
) -> datafusion::error::Result<SchemaRef> {
    let read = std::panic::AssertUnwindSafe(format.infer_schema(state, store, files));
    futures::FutureExt::catch_unwind(read).await.unwrap_or_else(|_| Err(damaged()))
}

/// Which of the files cannot be read.
async fn blame_file(
    table: &str,
    format: &Arc<dyn DataFusionFormat>,
    url: &ListingTableUrl,
    files: &[ObjectMeta],
    error: datafusion::error::DataFusionError,
    state: &SessionState,
) -> SqlError {
    let Ok(store) = state.runtime_env().object_store(url) else { return named(table, url.as_str(), &error) };
    for file in files {
        if let Err(error) = read_schema(format, state, &store, std::slice::from_ref(file)).await {
            return named(table, &shown(&url.object_store(), &file.location), &error);
        }
    }
    SqlError::data(format!("the files of table `{table}` do not fit together: {}", classify(&error).message))
}

fn named(table: &str, file: &str, error: &datafusion::error::DataFusionError) -> SqlError {
    let failure = classify(error);
    let class = match failure.class {
        penstock_protocol::task::FailureClass::Internal => penstock_protocol::task::FailureClass::UserData,
        class => class,
    };
    SqlError::new(class, format!("file `{file}` of table `{table}` cannot be read: {}", failure.message))
}

fn sort_order(order: &[SortExpr], schema: &Schema) -> Result<Vec<SortColumn>, SqlError> {
    let column = |sort: &SortExpr| match &sort.expr {
        Expr::Column(column) if schema.field_with_name(&column.name).is_ok() => {
            Ok(SortColumn { column: column.name.clone(), ascending: sort.asc, nulls_first: sort.nulls_first })
        }
        other => Err(SqlError::sql(format!("WITH ORDER takes columns of the table, not `{other}`"))),
    };
    order.iter().map(column).collect()
}
