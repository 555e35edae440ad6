//! Statements that write files: COPY TO, CREATE TABLE AS, INSERT.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::{
    logical_expr::{
        CreateMemoryTable, DmlStatement, LogicalPlan,
        dml::{CopyTo, InsertOp},
    },
    prelude::SessionContext,
};

use super::{
    bind::{Binder, Bound, Query, Sink, own_name, unsupported},
    scope::table_name,
};
use crate::{
    catalog::{CatalogChange, ExternalTable, FileFormat, TableDefinition, TableName, TableSchema},
    error::SqlError,
    nearest::did_you_mean,
    sink::{self, SinkMode, SinkTarget, WriteSpec},
    tables::Location,
};

const SINGLE_FILE: &str = "single_file_output";
const MODE: &str = "mode";
const KEEP_PARTITIONS: &str = "execution.keep_partition_by_columns";

/// A file name with an extension gives one file; anything else a folder of files, which must be empty unless the
/// option `mode` says `overwrite` or `append`.
pub fn copy_to(binder: &Binder<'_>, copy: CopyTo, session: SessionContext) -> Result<Bound, SqlError> {
    let location = Location::resolve(&copy.output_url, binder.context.base_url.as_deref())?;
    if location.pattern.is_some() {
        return Err(SqlError::sql(format!("COPY cannot write to a pattern such as `{location}`")));
    }
    let format = writable(&copy.file_type.get_ext())?;
    let mut options: BTreeMap<String, String> = copy.options.into_iter().collect();
    let keep_partition_columns = flag(&mut options, KEEP_PARTITIONS)?.unwrap_or(false);
    let single = flag(&mut options, SINGLE_FILE)?;
    let mode = options.remove(MODE).or_else(|| options.remove(&format!("format.{MODE}")));
    let is_single = single.unwrap_or_else(|| {
        copy.partition_by.is_empty() && !location.is_folder() && location.extension().is_some()
    });
    let (target, single_file) = match (is_single, mode) {
        (true, None) => single_file(binder, location)?,
        (true, Some(_)) => {
            return Err(SqlError::sql("`mode` is for folders; a single file is always replaced"));
        }
        (false, mode) => (folder(binder, location.into_folder(), copy_mode(mode.as_deref())?), None),
    };
    let plan = Arc::unwrap_or_clone(copy.input);
    let schema = plan.schema().inner().clone();
    let spec = WriteSpec {
        format,
        options,
        partition_columns: copy.partition_by,
        keep_partition_columns,
        file_prefix: file_prefix(binder),
        single_file,
    };
    sink(Query { plan, session }, schema, spec, target, None)
}

/// The files go to a new folder of the warehouse; the table appears when they are all there.
pub fn create_table_as(
    binder: &Binder<'_>,
    create: CreateMemoryTable,
    statement: String,
    session: SessionContext,
) -> Result<Bound, SqlError> {
    let name = own_name(&create.name)?;
    if let Some(existing) = binder.context.catalog.get(&name)
        && create.if_not_exists
    {
        return binder.checked_change(keep(name, existing), None);
    }
    let plan = Arc::unwrap_or_clone(create.input);
    let schema: SchemaRef = plan.schema().inner().clone();
    let location = warehouse_folder(binder, &name)?;
    let change = create_managed(name, &location, &schema, statement, create.or_replace, create.if_not_exists);
    // Fails now if the table exists, not after the work is done.
    binder.checked_change(change.clone(), None)?;
    let target = folder(binder, location, SinkMode::Create);
    let spec = WriteSpec {
        format: FileFormat::Parquet,
        options: BTreeMap::new(),
        partition_columns: Vec::new(),
        keep_partition_columns: false,
        file_prefix: file_prefix(binder),
        single_file: None,
    };
    sink(Query { plan, session }, schema, spec, target, Some(change))
}

/// `CREATE TABLE t (…)`: a table without rows, for INSERT.
pub fn create_empty(
    binder: &Binder<'_>,
    create: &CreateMemoryTable,
    statement: String,
) -> Result<Bound, SqlError> {
    let name = own_name(&create.name)?;
    let schema: SchemaRef = create.input.schema().inner().clone();
    if schema.fields().is_empty() {
        return Err(SqlError::sql(format!("table `{name}` has no columns")));
    }
    if !create.column_defaults.is_empty() {
        return Err(unsupported("a column default"));
    }
    if let Some(existing) = binder.context.catalog.get(&name)
        && create.if_not_exists
    {
        return binder.checked_change(keep(name, existing), None);
    }
    let location = warehouse_folder(binder, &name)?;
    let change = create_managed(name, &location, &schema, statement, create.or_replace, create.if_not_exists);
    binder.checked_change(change, Some(schema))
}

pub fn insert(
    binder: &Binder<'_>,
    dml: &DmlStatement,
    op: InsertOp,
    session: SessionContext,
) -> Result<Bound, SqlError> {
    let name = table_name(&dml.table_name).ok_or_else(|| unsupported("INSERT into another catalog"))?;
    let table = match binder.context.catalog.get(&name) {
        Some(TableDefinition::External(table)) => table,
        Some(TableDefinition::View { .. }) => {
            return Err(SqlError::sql(format!("`{name}` is a view; rows cannot be inserted into it")));
        }
        None => return Err(unsupported("INSERT into a table outside of the catalog")),
    };
    let mode = match op {
        InsertOp::Append => SinkMode::Append,
        InsertOp::Overwrite => SinkMode::Overwrite,
        InsertOp::Replace => return Err(unsupported("REPLACE INTO")),
    };
    let target = folder(binder, insert_location(&name, table)?, mode);
    let spec = WriteSpec {
        format: writable(table.format.name())?,
        options: table.options.clone(),
        partition_columns: table.partition_columns.clone(),
        keep_partition_columns: false,
        file_prefix: file_prefix(binder),
        single_file: None,
    };
    let plan: LogicalPlan = dml.input.as_ref().clone();
    sink(Query { plan, session }, table.schema.arrow().clone(), spec, target, None)
}

fn sink(
    query: Query,
    schema: SchemaRef,
    spec: WriteSpec,
    target: SinkTarget,
    then: Option<CatalogChange>,
) -> Result<Bound, SqlError> {
    check_columns(&schema, &spec)?;
    sink::check_spec(&spec, &query.session.state())?;
    Ok(Bound::Sink(Box::new(Sink { query, schema, spec, target, then })))
}

/// Files cannot have two columns of one name; partition columns become text in folder names.
fn check_columns(schema: &Schema, spec: &WriteSpec) -> Result<(), SqlError> {
    for (index, field) in schema.fields().iter().enumerate() {
        if schema.fields()[..index].iter().any(|other| other.name() == field.name()) {
            return Err(SqlError::sql(format!("column `{}` appears twice in what is written", field.name()))
                .with_suggestion("give each column a name of its own with AS"));
        }
    }
    for column in &spec.partition_columns {
        let Ok(field) = schema.field_with_name(column) else {
            let mut error = SqlError::sql(format!("there is no column `{column}` to partition by"));
            error.suggestion =
                did_you_mean(column, schema.fields().iter().map(|field| field.name().as_str()));
            return Err(error);
        };
        if field.data_type().is_nested()
            || matches!(field.data_type(), DataType::Binary | DataType::BinaryView)
        {
            let data_type = field.data_type();
            return Err(SqlError::sql(format!(
                "column `{column}` of type {data_type} cannot be a folder's name"
            )));
        }
    }
    if schema.fields().len() == spec.partition_columns.len() && !spec.keep_partition_columns {
        return Err(SqlError::sql(
            "there is no column left for the files: all of them are partition columns",
        ));
    }
    Ok(())
}

fn writable(extension: &str) -> Result<FileFormat, SqlError> {
    match FileFormat::parse(extension.trim_start_matches('.')) {
        Some(FileFormat::Avro) | None => {
            Err(SqlError::sql(format!("files of format `{extension}` cannot be written"))
                .with_suggestion("parquet, csv and json can"))
        }
        Some(format) => Ok(format),
    }
}

fn copy_mode(mode: Option<&str>) -> Result<SinkMode, SqlError> {
    match mode.map(str::to_ascii_lowercase).as_deref() {
        None | Some("create") => Ok(SinkMode::Create),
        Some("overwrite") => Ok(SinkMode::Overwrite),
        Some("append") => Ok(SinkMode::Append),
        Some(other) => {
            Err(SqlError::sql(format!("`mode` cannot be `{other}`: it takes create, overwrite or append")))
        }
    }
}

fn flag(options: &mut BTreeMap<String, String>, key: &str) -> Result<Option<bool>, SqlError> {
    let value = options.remove(key).or_else(|| options.remove(&format!("format.{key}")));
    value
        .map(|value| {
            value.trim().parse().map_err(|_| {
                SqlError::sql(format!("option `{key}` cannot be `{value}`: it takes true or false"))
            })
        })
        .transpose()
}

fn single_file(binder: &Binder<'_>, location: Location) -> Result<(SinkTarget, Option<String>), SqlError> {
    let name = location.listing_url()?.prefix().filename().map(str::to_owned);
    let name = name.filter(|_| !location.is_folder());
    let name = name.ok_or_else(|| SqlError::sql(format!("`{location}` is a folder, not a file")))?;
    let folder = location.url.join(".").map_err(|error| SqlError::sql(error.to_string()))?;
    let folder = Location { url: folder, pattern: None };
    let staging_url = sink::staging_inside(&folder.url, &statement_name(binder));
    let target = SinkTarget { target_url: folder.to_string(), staging_url, mode: SinkMode::SingleFile };
    Ok((target, Some(name)))
}

fn folder(binder: &Binder<'_>, location: Location, mode: SinkMode) -> SinkTarget {
    let staging_url = sink::staging_beside(&location.url, &statement_name(binder));
    SinkTarget { target_url: location.url.to_string(), staging_url, mode }
}

fn insert_location(name: &TableName, table: &ExternalTable) -> Result<Location, SqlError> {
    let locations: Vec<Location> =
        table.locations.iter().map(|location| Location::resolve(location, None)).collect::<Result<_, _>>()?;
    match locations.as_slice() {
        [location]
            if location.pattern.is_none() && (location.is_folder() || location.extension().is_none()) =>
        {
            Ok(location.clone().into_folder())
        }
        _ => Err(SqlError::sql(format!(
            "rows cannot be inserted into `{name}`: its location is not one folder but {}",
            table.locations.join(", ")
        ))),
    }
}

fn warehouse_folder(binder: &Binder<'_>, name: &TableName) -> Result<Location, SqlError> {
    let folder = format!("{}/{}/{}/", name.schema, name.name, statement_name(binder));
    Location::resolve(&format!("{}{folder}", with_slash(&binder.context.warehouse_url)), None)
}

fn with_slash(url: &str) -> String {
    if url.ends_with('/') { url.to_owned() } else { format!("{url}/") }
}

fn create_managed(
    name: TableName,
    location: &Location,
    schema: &SchemaRef,
    statement: String,
    or_replace: bool,
    if_not_exists: bool,
) -> CatalogChange {
    let table = ExternalTable {
        format: FileFormat::Parquet,
        locations: vec![location.to_string()],
        options: BTreeMap::new(),
        partition_columns: Vec::new(),
        sort_orders: Vec::new(),
        schema: TableSchema::new(Arc::clone(schema)),
        managed: true,
        statement,
    };
    CatalogChange::Create { name, definition: TableDefinition::External(table), or_replace, if_not_exists }
}

/// `IF NOT EXISTS` on a table that exists.
fn keep(name: TableName, existing: &TableDefinition) -> CatalogChange {
    CatalogChange::Create { name, definition: existing.clone(), or_replace: false, if_not_exists: true }
}

/// Unique over all jobs.
fn statement_name(binder: &Binder<'_>) -> String {
    format!("{}-{}", binder.context.job, binder.index)
}

fn file_prefix(binder: &Binder<'_>) -> String {
    format!("part-{}", statement_name(binder))
}
