//! Arrow IPC streams and Parquet files.

use std::io::Write;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
    ipc::writer::StreamWriter,
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use super::Encoder;

pub fn arrow<'a>(into: &'a mut (dyn Write + Send), schema: &Schema) -> anyhow::Result<impl Encoder + 'a> {
    Ok(Stream(StreamWriter::try_new(into, schema)?))
}

struct Stream<'a>(StreamWriter<&'a mut (dyn Write + Send)>);

impl Encoder for Stream<'_> {
    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        Ok(self.0.write(batch)?)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(self.0.finish()?)
    }
}

pub fn parquet<'a>(into: &'a mut (dyn Write + Send), schema: SchemaRef) -> anyhow::Result<impl Encoder + 'a> {
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    Ok(Parquet(ArrowWriter::try_new(into, schema, Some(properties))?))
}

struct Parquet<'a>(ArrowWriter<&'a mut (dyn Write + Send)>);

impl Encoder for Parquet<'_> {
    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        Ok(self.0.write(batch)?)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.0.finish()?;
        Ok(())
    }
}
