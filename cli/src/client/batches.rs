//! A result as it arrives: an Arrow IPC stream, decoded batch by batch.

use std::pin::Pin;

use arrow::{array::RecordBatch, buffer::Buffer, datatypes::SchemaRef, ipc::reader::StreamDecoder};
use futures::{Stream, StreamExt};

use crate::exit::{Exit, Failed};

type Body = Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>;

pub struct Batches {
    body: Body,
    decoder: StreamDecoder,
    received: Buffer,
}

impl Batches {
    pub fn new(body: impl Stream<Item = reqwest::Result<bytes::Bytes>> + Send + 'static) -> Self {
        Self { body: Box::pin(body), decoder: StreamDecoder::new(), received: Buffer::default() }
    }

    /// Known after the first call of [`Self::next`], even of an empty result.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.decoder.schema()
    }

    pub async fn next(&mut self) -> anyhow::Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.decoder.decode(&mut self.received)? {
                return Ok(Some(batch));
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.received = Buffer::from(bytes),
                Some(Err(cause)) => {
                    let message = format!("the connection was lost while the result was read: {cause}");
                    return Err(Failed::new(Exit::Infrastructure, message).into());
                }
                None => {
                    self.decoder.finish()?;
                    return Ok(None);
                }
            }
        }
    }
}
