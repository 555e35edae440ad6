//! Writes batches to one file of a format, through a bounded buffer to an object store.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::{exec_datafusion_err, file_options::csv_writer::CsvWriterOptions, internal_datafusion_err},
    config::ConfigOptions,
    datasource::file_format::{
        FileFormat,
        csv::{CsvFormat, CsvSerializer},
        file_compression_type::FileCompressionType,
        json::{JsonFormat, JsonSerializer},
        parquet::ParquetFormat,
        write::{BatchSerializer, ObjectWriterBuilder},
    },
    error::Result,
};
use object_store::{ObjectStore, buffered::BufWriter, path::Path};
use parquet::{
    arrow::{AsyncArrowWriter, arrow_writer::ArrowWriterOptions},
    file::properties::{WriterProperties, WriterPropertiesBuilder},
};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Bytes that are held back per file before they go to the store.
pub const BUFFER_BYTES: usize = 5 << 20;
/// Such buffers of one file that are on their way to the store.
const UPLOADS_MAX: usize = 2;

/// A file format with its options checked: opens any number of files.
#[derive(Clone)]
pub enum Encoding {
    Parquet { properties: Box<WriterProperties>, skip_arrow_metadata: bool },
    Text { serializer: Arc<dyn BatchSerializer>, compression: FileCompressionType, level: Option<u32> },
}

impl Encoding {
    pub fn new(format: &dyn FileFormat, schema: &SchemaRef, options: &ConfigOptions) -> Result<Self> {
        if let Some(parquet) = format.downcast_ref::<ParquetFormat>() {
            return parquet_encoding(parquet, schema);
        }
        if let Some(csv) = format.downcast_ref::<CsvFormat>() {
            return csv_encoding(csv, options);
        }
        if let Some(json) = format.downcast_ref::<JsonFormat>() {
            let options = json.options();
            if !options.newline_delimited {
                return Err(exec_datafusion_err!("JSON is written one object per line, not as an array"));
            }
            return Ok(Self::Text {
                serializer: Arc::new(JsonSerializer::new()),
                compression: options.compression.into(),
                level: options.compression_level,
            });
        }
        Err(internal_datafusion_err!("files of this format cannot be written"))
    }

    pub fn open(&self, store: &Arc<dyn ObjectStore>, path: &Path, schema: &SchemaRef) -> Result<FileWriter> {
        match self {
            Self::Parquet { properties, skip_arrow_metadata } => {
                let buffer = BufWriter::with_capacity(Arc::clone(store), path.clone(), BUFFER_BYTES)
                    .with_max_concurrency(UPLOADS_MAX);
                let options = ArrowWriterOptions::new()
                    .with_properties(properties.as_ref().clone())
                    .with_skip_arrow_metadata(*skip_arrow_metadata);
                let writer = AsyncArrowWriter::try_new_with_options(buffer, Arc::clone(schema), options)?;
                Ok(FileWriter::Parquet(Box::new(writer)))
            }
            Self::Text { serializer, compression, level } => {
                let writer = ObjectWriterBuilder::new(*compression, path, Arc::clone(store))
                    .with_buffer_size(Some(BUFFER_BYTES))
                    .with_compression_level(*level)
                    .build()?;
                let schema = Arc::clone(schema);
                Ok(FileWriter::Text { writer, serializer: Arc::clone(serializer), schema, is_empty: true })
            }
        }
    }
}

fn parquet_encoding(format: &ParquetFormat, schema: &SchemaRef) -> Result<Encoding> {
    let mut options = format.options().clone();
    let skip_arrow_metadata = options.global.skip_arrow_metadata;
    if !skip_arrow_metadata {
        options.arrow_schema(schema);
    }
    let properties = WriterPropertiesBuilder::try_from(&options)?.build();
    Ok(Encoding::Parquet { properties: Box::new(properties), skip_arrow_metadata })
}

fn csv_encoding(format: &CsvFormat, options: &ConfigOptions) -> Result<Encoding> {
    let has_header = format.options().has_header.unwrap_or(options.catalog.has_header);
    let csv = format.options().clone().with_has_header(has_header);
    let writer = CsvWriterOptions::try_from(&csv)?;
    let serializer = CsvSerializer::new().with_builder(writer.writer_options).with_header(has_header);
    Ok(Encoding::Text {
        serializer: Arc::new(serializer),
        compression: writer.compression.into(),
        level: writer.compression_level,
    })
}

/// An open file. It exists in the store once `finish` has returned; dropped before, nothing of it is seen.
pub enum FileWriter {
    Parquet(Box<AsyncArrowWriter<BufWriter>>),
    Text {
        writer: Box<dyn AsyncWrite + Send + Unpin>,
        serializer: Arc<dyn BatchSerializer>,
        schema: SchemaRef,
        is_empty: bool,
    },
}

impl FileWriter {
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.write(&batch).await?,
            Self::Text { writer, serializer, is_empty, .. } => {
                let bytes = serializer.serialize(batch, *is_empty)?;
                *is_empty = false;
                writer.write_all(&bytes).await?;
            }
        }
        Ok(())
    }

    /// Memory that the file needs until it is finished or flushed.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Parquet(writer) => writer.memory_size() + BUFFER_BYTES,
            Self::Text { .. } => BUFFER_BYTES,
        }
    }

    /// Encoded bytes of the rows that a flush would write.
    pub fn row_group_bytes(&self) -> usize {
        match self {
            Self::Parquet(writer) => writer.in_progress_size(),
            Self::Text { .. } => 0,
        }
    }

    /// Gives back what memory it can, at the price of a smaller row group.
    pub async fn flush(&mut self) -> Result<()> {
        if let Self::Parquet(writer) = self {
            writer.flush().await?;
        }
        Ok(())
    }

    pub async fn finish(self) -> Result<()> {
        match self {
            Self::Parquet(writer) => {
                writer.close().await?;
            }
            Self::Text { mut writer, serializer, schema, is_empty } => {
                if is_empty {
                    // A header says what the columns would have been.
                    let header = serializer.serialize(RecordBatch::new_empty(schema), true)?;
                    writer.write_all(&header).await?;
                }
                writer.shutdown().await?;
            }
        }
        Ok(())
    }
}
