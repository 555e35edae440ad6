//! Whose fault an error is, and what the user can do about it.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use penstock_protocol::task::{Failure, FailureClass};

use super::damaged::DamagedFile;
use crate::{exchange::store::ShuffleError, stores::NoCredential};

const WRITE_AGAIN: &str = "write the file again; it is damaged or was not written to its end";

/// One line that says what went wrong and on which input; the class decides whether a retry can help.
pub fn classify(error: &DataFusionError) -> Failure {
    let mut context = Vec::new();
    let mut failure = classify_within(error, &mut context);
    for outer in context.iter().rev() {
        failure.message = format!("{outer}: {}", failure.message);
    }
    failure.message = one_line(&failure.message);
    failure
}

fn classify_within(error: &DataFusionError, context: &mut Vec<String>) -> Failure {
    match error {
        DataFusionError::Context(text, inner) => {
            context.push(text.clone());
            classify_within(inner, context)
        }
        DataFusionError::Diagnostic(_, inner) => classify_within(inner, context),
        DataFusionError::Shared(inner) => classify_within(inner, context),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => classify_within(first, context),
            None => failure(FailureClass::Internal, error.to_string()),
        },
        DataFusionError::ResourcesExhausted(text) => resources(text),
        DataFusionError::ArrowError(arrow, _) => classify_arrow(arrow, context),
        DataFusionError::ParquetError(parquet) => classify_parquet(parquet, context),
        DataFusionError::ObjectStore(store) => classify_store(store),
        DataFusionError::IoError(io) => classify_io(io),
        DataFusionError::External(source) => classify_source(source.as_ref(), context),
        DataFusionError::Execution(text) => failure(FailureClass::UserData, text.clone()),
        DataFusionError::ExecutionJoin(join) => {
            failure(FailureClass::Internal, format!("a task of the query engine ended early: {join}"))
        }
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::Configuration(_)
        | DataFusionError::NotImplemented(_) => failure(FailureClass::UserSql, plain(error)),
        DataFusionError::Internal(_) | DataFusionError::Substrait(_) | DataFusionError::Ffi(_) => {
            failure(FailureClass::Internal, plain(error))
        }
    }
}

/// Errors that arrive as `dyn Error`: ours, or DataFusion's and Arrow's wrapped once more.
fn classify_source(
    source: &(dyn std::error::Error + Send + Sync + 'static),
    context: &mut Vec<String>,
) -> Failure {
    if let Some(known) = known(source, context) {
        return known;
    }
    let mut inner = source.source();
    while let Some(error) = inner {
        if let Some(known) = known(error, context) {
            return known;
        }
        inner = error.source();
    }
    failure(FailureClass::Internal, chain(source))
}

fn known(error: &(dyn std::error::Error + 'static), context: &mut Vec<String>) -> Option<Failure> {
    if let Some(error) = error.downcast_ref::<DataFusionError>() {
        return Some(classify_within(error, context));
    }
    if let Some(error) = error.downcast_ref::<ShuffleError>() {
        return Some(classify_shuffle(error));
    }
    if let Some(error) = error.downcast_ref::<ArrowError>() {
        return Some(classify_arrow(error, context));
    }
    if let Some(error) = error.downcast_ref::<parquet::errors::ParquetError>() {
        return Some(classify_parquet(error, context));
    }
    if let Some(damaged) = error.downcast_ref::<DamagedFile>() {
        return Some(advised(FailureClass::UserData, damaged.to_string(), WRITE_AGAIN));
    }
    if let Some(error) = error.downcast_ref::<NoCredential>() {
        return Some(no_credential(error));
    }
    if let Some(error) = error.downcast_ref::<object_store::Error>() {
        return Some(classify_store(error));
    }
    error.downcast_ref::<std::io::Error>().map(classify_io)
}

fn classify_shuffle(error: &ShuffleError) -> Failure {
    match error {
        ShuffleError::Lost { shuffle, .. } => {
            let lost = failure(FailureClass::Infrastructure, error.to_string());
            Failure { lost_shuffle: Some(*shuffle), ..lost }
        }
        ShuffleError::Unavailable { .. } => failure(FailureClass::Infrastructure, error.to_string()),
        ShuffleError::NoRoom { .. } => advised(
            FailureClass::Resources,
            error.to_string(),
            "free space on the shuffle workers' disks, or add workers",
        ),
    }
}

fn classify_arrow(error: &ArrowError, context: &mut Vec<String>) -> Failure {
    match error {
        ArrowError::ExternalError(source) => classify_source(source.as_ref(), context),
        ArrowError::IoError(_, io) => classify_io(io),
        ArrowError::DivideByZero => advised(
            FailureClass::UserData,
            "division by zero".to_owned(),
            "guard the divisor, for example with nullif(divisor, 0)",
        ),
        ArrowError::CastError(text) => advised(
            FailureClass::UserData,
            lower_first(text),
            "try_cast gives NULL for values that do not fit",
        ),
        ArrowError::ArithmeticOverflow(text) => advised(
            FailureClass::UserData,
            lower_first(text),
            "cast to a wider type, such as decimal(38, 0) or double, before computing",
        ),
        ArrowError::MemoryError(text) => resources(text),
        ArrowError::NotYetImplemented(text) => failure(FailureClass::UserSql, lower_first(text)),
        ArrowError::CDataInterface(_) => failure(FailureClass::Internal, error.to_string()),
        ArrowError::CsvError(text)
        | ArrowError::JsonError(text)
        | ArrowError::ParquetError(text)
        | ArrowError::ParseError(text)
        | ArrowError::SchemaError(text)
        | ArrowError::ComputeError(text)
        | ArrowError::InvalidArgumentError(text) => failure(FailureClass::UserData, lower_first(text)),
        _ => failure(FailureClass::UserData, error.to_string()),
    }
}

fn classify_parquet(error: &parquet::errors::ParquetError, context: &mut Vec<String>) -> Failure {
    match error {
        parquet::errors::ParquetError::External(source) => {
            match classify_source(source.as_ref(), context) {
                // What nobody knows comes from decoding bytes, such as text that is not UTF-8.
                Failure { class: FailureClass::Internal, message, .. } => {
                    let message = format!("not a valid Parquet file: {message}");
                    advised(FailureClass::UserData, message, WRITE_AGAIN)
                }
                known => known,
            }
        }
        _ => advised(
            FailureClass::UserData,
            format!("not a valid Parquet file: {}", lower_first(&error.to_string())),
            WRITE_AGAIN,
        ),
    }
}

fn no_credential(error: &NoCredential) -> Failure {
    advised(FailureClass::UserData, chain(error), error.needs)
}

fn classify_store(error: &object_store::Error) -> Failure {
    match error {
        object_store::Error::Unauthenticated { source, .. } if source.is::<NoCredential>() => {
            source.downcast_ref().map_or_else(|| failure(FailureClass::UserData, chain(error)), no_credential)
        }
        object_store::Error::NotFound { path, .. } => advised(
            FailureClass::UserData,
            format!("file `{path}` does not exist any more"),
            "run the job again when nobody changes its input",
        ),
        object_store::Error::PermissionDenied { path, .. }
        | object_store::Error::Unauthenticated { path, .. } => advised(
            FailureClass::UserData,
            format!("no permission to use `{path}`"),
            "check the credentials of coordinator and executors",
        ),
        object_store::Error::Precondition { path, .. } => {
            failure(FailureClass::UserData, format!("file `{path}` changed while it was read"))
        }
        _ => match io_kind(error) {
            Some(kind) if is_full(kind) => full_disk(&chain(error)),
            _ => failure(FailureClass::Infrastructure, chain(error)),
        },
    }
}

fn classify_io(error: &std::io::Error) -> Failure {
    // Writers in between wrap what was said below them.
    if let Some(known) = error.get_ref().and_then(|inner| known(inner, &mut Vec::new())) {
        return known;
    }
    match error.kind() {
        kind if is_full(kind) => full_spill_disk(error),
        std::io::ErrorKind::NotFound => failure(FailureClass::UserData, lower_first(&error.to_string())),
        std::io::ErrorKind::InvalidData => failure(FailureClass::UserData, lower_first(&error.to_string())),
        _ => failure(FailureClass::Infrastructure, lower_first(&error.to_string())),
    }
}

fn is_full(kind: std::io::ErrorKind) -> bool {
    matches!(kind, std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    let mut error = Some(error);
    while let Some(current) = error {
        if let Some(io) = current.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        error = current.source();
    }
    None
}

/// The advice on a full disk of spill files; whoever knows their folder names it instead.
pub const FREE_SPILL_SPACE: &str = "free space on the disk of the spill files";

/// Operators write plain files for spilling only, and say nothing of their place.
fn full_spill_disk(error: &std::io::Error) -> Failure {
    let message = format!("the disk is full that spill files go to: {error}");
    advised(FailureClass::Resources, message, FREE_SPILL_SPACE)
}

fn full_disk(text: &str) -> Failure {
    advised(FailureClass::Resources, format!("the disk is full: {text}"), "free space on the disk")
}

/// Memory and spill space have different remedies.
fn resources(text: &str) -> Failure {
    // The pool says of each operator whether it `can spill`.
    let is_spill = text.replace("can spill", "").contains("spill")
        || text.contains("temporary")
        || text.contains("max_temp_directory_size");
    let advice = match is_spill {
        true => {
            "raise the executor's `spill_bytes_max`, or spread the work with a higher `penstock.partitions`"
        }
        false => {
            "raise the executor's `memory_bytes`, or spread the work with a higher `penstock.partitions`"
        }
    };
    advised(FailureClass::Resources, lower_first(text), advice)
}

fn failure(class: FailureClass, message: String) -> Failure {
    Failure { class, message, advice: None, lost_shuffle: None }
}

fn advised(class: FailureClass, message: String, advice: &str) -> Failure {
    Failure { advice: Some(advice.to_owned()), ..failure(class, message) }
}

/// DataFusion's message without its prefix, backtrace and invitation to file a bug.
pub(crate) fn plain(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let prefixes = [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "Invalid or Unsupported Configuration: ",
        "Execution error: ",
        "SQL error: ",
        "Internal error: ",
    ];
    let stripped =
        prefixes.iter().fold(text.as_str(), |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
    let stripped = stripped.split(".\nThis issue was likely caused by a bug").next().unwrap_or(stripped);
    lower_first(stripped)
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        source = error.source();
    }
    text
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Acronyms at the start stay as they are.
pub(super) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: DataFusionError, class: FailureClass, message: &str) {
        let failure = classify(&error);
        assert_eq!((failure.class, failure.message.as_str()), (class, message));
    }

    #[test]
    fn data_errors_are_the_users() {
        let divide = DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None);
        check(divide, FailureClass::UserData, "division by zero");
        let cast = ArrowError::CastError("Cannot cast string 'x' to value of Int64 type".to_owned());
        check(
            DataFusionError::ArrowError(Box::new(cast), None).context("reading t.csv"),
            FailureClass::UserData,
            "reading t.csv: cannot cast string 'x' to value of Int64 type",
        );
    }

    #[test]
    fn a_lost_shuffle_is_found_below_wrappers() {
        let shuffle = penstock_protocol::ids::ShuffleId {
            job: "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("is a job id"),
            exchange: penstock_protocol::ids::StageId(3),
            run: 0,
        };
        let lost = ShuffleError::Lost { shuffle, reason: "worker w1 is gone".to_owned() };
        let wrapped = ArrowError::ExternalError(Box::new(DataFusionError::External(Box::new(lost))));
        let failure = classify(&DataFusionError::ArrowError(Box::new(wrapped), None));
        assert_eq!((failure.class, failure.lost_shuffle), (FailureClass::Infrastructure, Some(shuffle)));
    }

    #[test]
    fn running_out_of_memory_names_the_setting() {
        for text in ["Failed to allocate 10 MB", "Failed to allocate 1 MB for Sort (can spill: true)"] {
            let failure = classify(&DataFusionError::ResourcesExhausted(text.to_owned()));
            assert_eq!(failure.class, FailureClass::Resources);
            assert!(failure.advice.expect("has advice").contains("memory_bytes"));
        }
    }

    #[test]
    fn a_full_disk_is_a_lack_of_resources() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(classify(&DataFusionError::IoError(full())).class, FailureClass::Resources);
        let store = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(full()) };
        let wrapped = DataFusionError::IoError(std::io::Error::other(store));
        assert_eq!(classify(&wrapped).class, FailureClass::Resources);
    }
}
