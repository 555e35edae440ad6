//! Table definitions as plain, serialisable values, and the changes that statements make to them.
//!
//! The coordinator stores a [`Catalog`] and applies [`CatalogChange`]s when a statement ended. Making a table that can
//! be read from a definition is `tables`' work.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

mod schema;

pub use schema::TableSchema;

/// The schema that names without one belong to.
pub const DEFAULT_SCHEMA: &str = "public";

/// A table's or view's name in the cluster's catalog. Its text form is `schema.name`, or `name` in the default schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl TableName {
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema == DEFAULT_SCHEMA {
            f.write_str(&self.name)
        } else {
            write!(f, "{}.{}", self.schema, self.name)
        }
    }
}

impl FromStr for TableName {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('.') {
            Some((schema, name)) => Self::new(schema, name),
            None => Self::new(DEFAULT_SCHEMA, text),
        })
    }
}

impl Serialize for TableName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TableName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What the files of a table look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    Parquet,
    Csv,
    Json,
    Avro,
}

impl FileFormat {
    pub const ALL: [Self; 4] = [Self::Parquet, Self::Csv, Self::Json, Self::Avro];

    /// The name in `STORED AS` and the usual extension of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Avro => "avro",
        }
    }

    /// Reads `STORED AS` names and file extensions, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Some(Self::Json),
            lower => Self::ALL.into_iter().find(|format| format.name() == lower),
        }
    }
}

/// How a table is made. Everything that reading it needs is in here; nothing is asked of the client later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TableDefinition {
    External(ExternalTable),
    View {
        /// The query, as it was written.
        sql: String,
        /// The whole `CREATE VIEW` statement.
        statement: String,
    },
}

/// Files somewhere that are read as one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExternalTable {
    pub format: FileFormat,
    /// Absolute URLs of files, folders (ending in `/`) or globs, all in one store.
    pub locations: Vec<String>,
    /// `format.*` options as DataFusion spells them.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Hive partition columns in folder order; they come after the file columns.
    #[serde(default)]
    pub partition_columns: Vec<String>,
    /// `WITH ORDER`, each as SQL text.
    #[serde(default)]
    pub sort_orders: Vec<Vec<SortColumn>>,
    /// All columns, partition columns last.
    pub schema: TableSchema,
    /// Created by `CREATE TABLE AS`: the files belong to the catalog.
    #[serde(default)]
    pub managed: bool,
    /// The statement that created it.
    #[serde(default)]
    pub statement: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortColumn {
    pub column: String,
    pub ascending: bool,
    pub nulls_first: bool,
}

pub type Catalog = BTreeMap<TableName, TableDefinition>;

/// What a statement does to the catalog when it has succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum CatalogChange {
    Create { name: TableName, definition: TableDefinition, or_replace: bool, if_not_exists: bool },
    Drop { name: TableName, if_exists: bool },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    #[error("table `{0}` exists already")]
    Exists(TableName),
    #[error("there is no table `{0}`")]
    Missing(TableName),
}

impl CatalogChange {
    /// Applies the change, or says why it cannot be. An error leaves the catalog as it was.
    pub fn apply(&self, catalog: &mut Catalog) -> Result<(), CatalogError> {
        match self {
            Self::Create { name, definition, or_replace, if_not_exists } => {
                if catalog.contains_key(name) && !or_replace {
                    return if *if_not_exists { Ok(()) } else { Err(CatalogError::Exists(name.clone())) };
                }
                catalog.insert(name.clone(), definition.clone());
                Ok(())
            }
            Self::Drop { name, if_exists } => match catalog.remove(name) {
                None if !if_exists => Err(CatalogError::Missing(name.clone())),
                _ => Ok(()),
            },
        }
    }
}
