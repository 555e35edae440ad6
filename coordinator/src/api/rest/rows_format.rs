//! Rows as bytes, batch by batch: Arrow IPC, JSON or CSV.

use std::mem;

use arrow::{
    array::RecordBatch,
    csv::WriterBuilder as CsvBuilder,
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
    ipc::writer::StreamWriter,
    json::{WriterBuilder as JsonBuilder, writer::JsonArray},
};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::results::{Batches, ResultError, Rows};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Arrow,
    Json,
    Csv,
}

impl Format {
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Arrow, Self::Json, Self::Csv].into_iter().find(|format| format.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Arrow => "arrow",
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }

    /// The first column that the format has no place for.
    pub fn cannot_hold(self, schema: &Schema) -> Option<String> {
        let nested = schema.fields().iter().find(|field| field.data_type().is_nested());
        nested.filter(|_| self == Self::Csv).map(|field| field.name().clone())
    }
}

/// A stream of bytes. It fails where the rows fail, so that the receiver sees that it was cut.
pub fn encoded(
    rows: Rows,
    format: Format,
    limit: Option<usize>,
) -> impl Stream<Item = Result<Bytes, ResultError>> + Send {
    let Rows { schema, batches } = rows;
    async_stream::try_stream! {
        let mut batches: Batches = batches;
        let mut rest = limit.unwrap_or(usize::MAX);
        let mut encoder = Encoder::new(format, schema)?;
        while rest > 0 && let Some(batch) = batches.next().await {
            let batch = batch?;
            let batch = batch.slice(0, batch.num_rows().min(rest));
            rest -= batch.num_rows();
            let bytes = encoder.encode(&batch)?;
            if !bytes.is_empty() {
                yield bytes;
            }
        }
        yield encoder.finish()?;
    }
}

enum Encoder {
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Json(Box<arrow::json::Writer<Vec<u8>, JsonArray>>),
    Csv { schema: SchemaRef, with_header: bool },
}

impl Encoder {
    fn new(format: Format, schema: SchemaRef) -> Result<Self, ArrowError> {
        Ok(match format {
            Format::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), &schema)?)),
            Format::Json => {
                Self::Json(Box::new(JsonBuilder::new().with_explicit_nulls(true).build(Vec::new())))
            }
            Format::Csv => Self::Csv { schema, with_header: true },
        })
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<Bytes, ArrowError> {
        let bytes = match self {
            Self::Arrow(writer) => {
                writer.write(batch)?;
                mem::take(writer.get_mut())
            }
            Self::Json(writer) => {
                writer.write(batch)?;
                mem::take(writer.get_mut())
            }
            Self::Csv { with_header, .. } => {
                let mut bytes = Vec::new();
                CsvBuilder::new().with_header(mem::take(with_header)).build(&mut bytes).write(batch)?;
                bytes
            }
        };
        Ok(bytes.into())
    }

    /// The end of the stream; also the beginning, if there was no batch.
    fn finish(self) -> Result<Bytes, ArrowError> {
        let bytes = match self {
            Self::Arrow(mut writer) => {
                writer.finish()?;
                mem::take(writer.get_mut())
            }
            Self::Json(mut writer) => {
                writer.finish()?;
                writer.into_inner()
            }
            Self::Csv { with_header: false, .. } => Vec::new(),
            Self::Csv { schema, with_header: true } => {
                let mut bytes = Vec::new();
                let nothing = RecordBatch::new_empty(schema);
                CsvBuilder::new().with_header(true).build(&mut bytes).write(&nothing)?;
                bytes
            }
        };
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::Int64Array,
        datatypes::{DataType, Field},
    };
    use futures::{TryStreamExt, stream};

    use super::*;

    async fn encode(format: Format, batches: &[&[i64]], limit: Option<usize>) -> Vec<u8> {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let batch = |values: &&[i64]| {
            let column = Arc::new(Int64Array::from(values.to_vec()));
            Ok(RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("fits the schema"))
        };
        let batches: Vec<_> = batches.iter().map(batch).collect();
        let rows = Rows { schema, batches: stream::iter(batches).boxed() };
        let parts: Vec<Bytes> = encoded(rows, format, limit).try_collect().await.expect("is encoded");
        parts.concat()
    }

    #[tokio::test]
    async fn csv_has_one_header_however_many_batches_come() {
        assert_eq!(encode(Format::Csv, &[&[1, 2], &[3]], None).await, b"n\n1\n2\n3\n");
        assert_eq!(encode(Format::Csv, &[], None).await, b"n\n");
    }

    #[tokio::test]
    async fn json_is_one_array() {
        assert_eq!(encode(Format::Json, &[&[1], &[2]], None).await, br#"[{"n":1},{"n":2}]"#);
        assert_eq!(encode(Format::Json, &[], None).await, b"[]");
    }

    #[tokio::test]
    async fn arrow_is_an_ipc_stream_with_a_schema_even_without_rows() {
        let bytes = encode(Format::Arrow, &[&[1, 2], &[3]], Some(2)).await;
        let read = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).expect("has a schema");
        assert_eq!(read.map(|batch| batch.expect("is whole").num_rows()).sum::<usize>(), 2);
        let bytes = encode(Format::Arrow, &[], None).await;
        assert!(arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).is_ok());
    }

    #[test]
    fn csv_has_no_place_for_nested_columns() {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
        let schema = Schema::new(vec![Field::new("a", list, true)]);
        assert_eq!(Format::Csv.cannot_hold(&schema), Some("a".to_owned()));
        assert_eq!(Format::Json.cannot_hold(&schema), None);
    }
}
