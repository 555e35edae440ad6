//! CSV with a header line, and JSON with one object per line.

use std::{io::Write, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    csv,
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
    json::{self, writer::LineDelimited},
    util::display::{ArrayFormatter, FormatOptions},
};

use super::Encoder;

pub fn csv<W: Write>(into: W) -> impl Encoder {
    Csv(csv::WriterBuilder::new().with_header(true).build(into))
}

struct Csv<W: Write>(csv::Writer<W>);

impl<W: Write> Encoder for Csv<W> {
    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        Ok(self.0.write(&without_nesting(batch)?)?)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// CSV knows no lists and structs: they become the text that a table would show.
fn without_nesting(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if !batch.schema().fields().iter().any(|field| is_nested(field.data_type())) {
        return Ok(batch.clone());
    }
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if is_nested(field.data_type()) {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(Arc::new(as_text(column)?));
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn is_nested(data_type: &DataType) -> bool {
    data_type.is_nested() || matches!(data_type, DataType::Interval(_))
}

fn as_text(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let options = FormatOptions::default();
    let shown = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let rows = (0..column.len()).map(|row| column.is_valid(row).then(|| shown.value(row).to_string()));
    Ok(rows.collect())
}

pub fn json<W: Write>(into: W) -> impl Encoder {
    Json(json::WriterBuilder::new().with_explicit_nulls(true).build(into))
}

struct Json<W: Write>(json::Writer<W, LineDelimited>);

impl<W: Write> Encoder for Json<W> {
    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        Ok(self.0.write(batch)?)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(self.0.finish()?)
    }
}
