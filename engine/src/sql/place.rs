//! Finds where in a script an error of the planner belongs, and says it in our words.

use datafusion::{
    common::{DataFusionError, Diagnostic, SchemaError, TableReference},
    execution::SessionStateDefaults,
};
use penstock_protocol::task::FailureClass;

use crate::{
    catalog::{Catalog, DEFAULT_SCHEMA, FileFormat, TableName},
    error::{Position, SqlError, classify, plain},
    nearest::did_you_mean,
    script::Script,
};

use super::scope::{CATALOG, table_name};

/// Nested errors looked through, at most.
const DEPTH_MAX: usize = 32;

/// The error as the author of the script should see it.
pub fn locate(error: &DataFusionError, script: &Script, index: usize, catalog: &Catalog) -> SqlError {
    let words = script.statement(index).map(|statement| statement.words.as_slice()).unwrap_or_default();
    let found = find(error);
    let described = match &found {
        Some(Known::Field(schema_error)) => describe_schema_error(schema_error, words),
        Some(Known::Plan(text)) => describe_plan_error(text, catalog, words),
        None => Described::of(other(error)),
    };
    let position = error.diagnostic().and_then(span).or(described.position);
    match position {
        Some(position) => described.error.at(script.text(), position),
        None => described.error,
    }
}

struct Described {
    error: SqlError,
    /// Where the words of the message stand, for errors that come without a place.
    position: Option<Position>,
}

impl Described {
    fn of(error: SqlError) -> Self {
        Self { error, position: None }
    }
}

enum Known<'a> {
    Field(&'a SchemaError),
    Plan(&'a str),
}

fn find(error: &DataFusionError) -> Option<Known<'_>> {
    let mut error = error;
    for _ in 0..DEPTH_MAX {
        error = match error {
            DataFusionError::SchemaError(schema_error, _) => return Some(Known::Field(schema_error)),
            DataFusionError::Plan(text) => return Some(Known::Plan(text)),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => inner,
            DataFusionError::Shared(inner) => inner,
            DataFusionError::Collection(errors) => errors.first()?,
            _ => return None,
        };
    }
    None
}

/// Anything but a mistake in names: the class tells whose fault it is.
fn other(error: &DataFusionError) -> SqlError {
    let failure = classify(error);
    let mut described = SqlError::new(failure.class, failure.message);
    described.suggestion = failure.advice;
    described
}

fn span(diagnostic: &Diagnostic) -> Option<Position> {
    let start = diagnostic.span?.start;
    (start.line > 0).then_some(Position { line: start.line, column: start.column })
}

fn describe_schema_error(error: &SchemaError, words: &[(String, Position)]) -> Described {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let name = field.name();
            let shown = match &field.relation {
                Some(relation) => format!("{}.{name}", shown(relation)),
                None => name.to_owned(),
            };
            let mut described = SqlError::sql(format!("there is no column `{shown}`"));
            let names: Vec<String> =
                valid_fields.iter().flat_map(|field| [field.name().to_owned(), field.flat_name()]).collect();
            described.suggestion = did_you_mean(name, names.iter().map(String::as_str))
                .map(|text| {
                    match names.iter().any(|other| other != name && other.eq_ignore_ascii_case(name)) {
                        true => format!("{text} quote names that have capital letters: \"…\""),
                        false => text,
                    }
                })
                .or_else(|| columns(valid_fields.iter().map(|field| field.name())));
            Described { error: described, position: place_of(name, words) }
        }
        SchemaError::AmbiguousReference { field } => {
            let name = field.name();
            let error = SqlError::sql(format!("column `{name}` is in more than one of the tables"))
                .with_suggestion(format!("say which, as in `table.{name}`"));
            Described { error, position: place_of(name, words) }
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            let error = SqlError::sql(format!("column `{name}` appears twice"))
                .with_suggestion(format!("give one of them another name: `{name} AS …`"));
            Described { error, position: place_of(name, words) }
        }
    }
}

/// Up to a handful of names; more would hide the message.
fn columns<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => None,
        1..=12 => Some(format!("there are {}", names.join(", "))),
        more => Some(format!("there are {}, and {} more", names[..12].join(", "), more - 12)),
    }
}

fn describe_plan_error(text: &str, catalog: &Catalog, words: &[(String, Position)]) -> Described {
    if let Some(name) = between(text, "table function '", "' not found") {
        let error = SqlError::sql(format!("there is no table function `{name}`"));
        return Described { error, position: place_of(name, words) };
    }
    if let Some(name) = between(text, "table '", "' not found") {
        return missing_table(name, catalog, words);
    }
    if let Some(name) = between(text, "Invalid function '", "'") {
        let mut error = SqlError::sql(format!("there is no function `{name}`"));
        error.suggestion = did_you_mean(name, function_names().iter().map(String::as_str));
        return Described { error, position: place_of(name, words) };
    }
    let message = plain(&DataFusionError::Plan(text.to_owned()));
    let (message, help) = match message.split_once('\n') {
        Some((first, rest)) => (first.to_owned(), Some(rest.trim().replace('\n', " "))),
        None => (message, None),
    };
    let mut error = SqlError::new(FailureClass::UserSql, message);
    error.suggestion = help.filter(|help| !help.is_empty());
    Described::of(error)
}

/// Names and aliases of all functions.
fn function_names() -> Vec<String> {
    let scalar = SessionStateDefaults::default_scalar_functions();
    let aggregate = SessionStateDefaults::default_aggregate_functions();
    let window = SessionStateDefaults::default_window_functions();
    let scalar =
        scalar.iter().flat_map(|function| [vec![function.name().to_owned()], function.aliases().to_vec()]);
    let aggregate =
        aggregate.iter().flat_map(|function| [vec![function.name().to_owned()], function.aliases().to_vec()]);
    let window =
        window.iter().flat_map(|function| [vec![function.name().to_owned()], function.aliases().to_vec()]);
    let mut names: Vec<String> = scalar.chain(aggregate).chain(window).flatten().collect();
    names.sort();
    names.dedup();
    names
}

fn missing_table(name: &str, catalog: &Catalog, words: &[(String, Position)]) -> Described {
    if let Some((file, format)) = file_name(name) {
        let error =
            SqlError::sql(format!("`{file}` is no table; files are read through one")).with_suggestion(
                format!("CREATE EXTERNAL TABLE t STORED AS {} LOCATION '{file}'", format.name()),
            );
        return Described { error, position: place_of(file, words) };
    }
    let name =
        table_name(&TableReference::parse_str(name)).unwrap_or_else(|| TableName::new(DEFAULT_SCHEMA, name));
    let mut error = SqlError::sql(format!("there is no table `{name}`"));
    let known: Vec<String> = catalog.keys().map(TableName::to_string).collect();
    error.suggestion = did_you_mean(&name.to_string(), known.iter().map(String::as_str))
        .or_else(|| columns(known.iter().map(String::as_str)));
    Described { error, position: place_of(&name.name, words) }
}

/// The file that somebody put where a table's name belongs: `FROM 'orders.parquet'`. It comes with the default names in front.
fn file_name(name: &str) -> Option<(&str, FileFormat)> {
    let file = name.strip_prefix(&format!("{CATALOG}.{DEFAULT_SCHEMA}."))?;
    let (_, extension) = file.rsplit_once('.')?;
    Some((file, FileFormat::parse(extension)?))
}

fn shown(relation: &TableReference) -> String {
    table_name(relation).map_or_else(|| relation.to_string(), |name| name.to_string())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

fn place_of(name: &str, words: &[(String, Position)]) -> Option<Position> {
    let place = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(name));
    place.map(|(_, position)| *position)
}
