//! Writes results: in which format, to the terminal, a pipe or a file.
//!
//! A file appears when it is complete or not at all. Not here: where the rows come from.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use arrow::{array::RecordBatch, datatypes::SchemaRef};
use clap::{Args, ValueEnum};
use tempfile::NamedTempFile;

use crate::{client::Batches, exit::Failed};

mod columnar;
mod table;
mod text;
mod watched;

use watched::Watched;

pub use table::{bytes, print_json, rows, seconds, table};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; the first rows of a large result
    Table,
    Csv,
    /// One JSON object per line
    Json,
    /// Arrow IPC stream
    Arrow,
    Parquet,
}

#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// How the result is written [default: by the ending of --output, else table on a terminal and csv in a pipe]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write the result to this file, which appears when it is complete
    #[arg(long, short, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Rows that --format table shows at most
    #[arg(long, value_name = "ROWS", default_value_t = 100)]
    pub limit: u64,
}

impl OutputArgs {
    pub fn format(&self) -> Format {
        self.format.unwrap_or_else(|| match &self.output {
            Some(path) => of_ending(path),
            None if io::stdout().is_terminal() => Format::Table,
            None => Format::Csv,
        })
    }

    /// Refuses what cannot be written before anything runs.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(path) = &self.output {
            if path.is_dir() {
                let message = format!("--output {} is a folder, name a file in it", path.display());
                return Err(Failed::usage(message).into());
            }
            let folder = folder_of(path);
            if !folder.is_dir() {
                let message = format!("--output {}: there is no folder {}", path.display(), folder.display());
                return Err(Failed::usage(message).into());
            }
        }
        let binary = matches!(self.format(), Format::Arrow | Format::Parquet);
        if binary && self.output.is_none() && io::stdout().is_terminal() {
            let refused = Failed::usage("this format is not for terminals");
            return Err(refused.advise("add --output PATH, or send the output into a pipe").into());
        }
        Ok(())
    }

    /// How many rows are worth fetching.
    pub fn fetch_limit(&self) -> Option<u64> {
        (self.format() == Format::Table).then_some(self.limit)
    }
}

fn of_ending(path: &Path) -> Format {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("json" | "jsonl" | "ndjson") => Format::Json,
        Some("arrow" | "arrows" | "ipc") => Format::Arrow,
        Some("parquet") => Format::Parquet,
        Some("txt") => Format::Table,
        _ => Format::Csv,
    }
}

/// Takes batches and writes them in one format.
trait Encoder {
    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()>;
    fn finish(&mut self) -> anyhow::Result<()>;
}

fn encoder<'a>(
    format: Format,
    schema: SchemaRef,
    into: &'a mut (dyn Write + Send),
) -> anyhow::Result<Box<dyn Encoder + 'a>> {
    Ok(match format {
        Format::Table => Box::new(table::Rows::new(schema, into)),
        Format::Csv => Box::new(text::csv(into)),
        Format::Json => Box::new(text::json(into)),
        Format::Arrow => Box::new(columnar::arrow(into, &schema)?),
        Format::Parquet => Box::new(columnar::parquet(into, schema)?),
    })
}

/// Writes one result to where the arguments say. `rows_total` is what the statement counted.
pub async fn write_result(
    arguments: &OutputArgs,
    batches: &mut Batches,
    rows_total: Option<u64>,
) -> anyhow::Result<()> {
    match &arguments.output {
        None => {
            let mut out = Watched::new(io::BufWriter::new(io::stdout()));
            let written = encode(arguments.format(), batches, &mut out).await;
            let written = out.explain(written)?;
            note_what_is_missing(arguments, written, rows_total);
        }
        Some(path) => {
            let mut out = Watched::new(io::BufWriter::new(temporary_beside(path)?));
            let written = encode(arguments.format(), batches, &mut out).await;
            let written = out.explain(written).with_context(|| format!("writing {}", path.display()))?;
            let file = out.into_inner().into_inner().map_err(io::IntoInnerError::into_error)?;
            file.persist(path).with_context(|| format!("writing {}", path.display()))?;
            note_what_is_missing(arguments, written, rows_total);
        }
    }
    Ok(())
}

async fn encode(format: Format, batches: &mut Batches, into: &mut (dyn Write + Send)) -> anyhow::Result<u64> {
    let first = batches.next().await?;
    let schema = first.as_ref().map(RecordBatch::schema).or_else(|| batches.schema());
    let schema = schema.context("the result has no schema")?;
    // An empty result still has its columns.
    let mut next = first.or_else(|| Some(RecordBatch::new_empty(schema.clone())));
    let mut encoder = encoder(format, schema, into)?;
    let mut rows = 0;
    while let Some(batch) = next {
        rows += batch.num_rows() as u64;
        encoder.write(&batch)?;
        next = batches.next().await?;
    }
    encoder.finish()?;
    drop(encoder);
    into.flush()?;
    Ok(rows)
}

fn note_what_is_missing(arguments: &OutputArgs, written: u64, rows_total: Option<u64>) {
    let Some(total) = rows_total.filter(|total| arguments.format() == Format::Table && written < *total)
    else {
        return;
    };
    eprintln!(
        "the first {} of {} rows; for all of them use --format csv, --output PATH, or --limit {total}",
        rows(written),
        rows(total)
    );
}

fn temporary_beside(path: &Path) -> anyhow::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    // The process's umask applies, as to any file it creates.
    let permissions = std::fs::Permissions::from_mode(0o666);
    let folder = folder_of(path);
    tempfile::Builder::new()
        .prefix(".penstock-")
        .permissions(permissions)
        .tempfile_in(&folder)
        .map_err(|cause| Failed::usage(format!("cannot write into {}: {cause}", folder.display())).into())
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
