//! Record batches as payloads: one byte of codec, then Arrow IPC messages without a schema.
//!
//! Both ends know the schema from the plan, so it never travels. A payload is self-contained: dictionaries ride in
//! front of the batch that uses them. Not here: checksums and batch ids, which the shuffle adds.

use std::collections::HashMap;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    buffer::{Buffer, MutableBuffer},
    datatypes::{DataType, Schema, SchemaRef},
    error::ArrowError,
    ipc::{
        MessageHeader,
        convert::fb_to_schema,
        reader, root_as_message,
        writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions},
    },
};
use bytes::{BufMut, Bytes};

/// How payload bodies are compressed. A body that does not shrink is stored as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    None,
    #[default]
    Lz4,
    Zstd,
}

/// Why a payload could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BatchIoError {
    #[error("a batch of {bytes} bytes is over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("payload is damaged: {reason}")]
    Damaged { reason: &'static str },
    #[error("payload has the unknown codec {codec}")]
    UnknownCodec { codec: u8 },
    #[error("payload does not decompress")]
    Decompress(#[source] std::io::Error),
    #[error("compressing a payload")]
    Compress(#[source] std::io::Error),
    #[error("payload is not a batch of the expected schema")]
    Arrow(#[from] ArrowError),
}

/// Codec, three reserved bytes, length of the plain body as u32, little endian. 16 keeps a plain body aligned.
const HEADER_BYTES: usize = 16;
/// Message header: metadata length and body length as u32, then padding to the alignment.
const MESSAGE_HEADER_BYTES: usize = 16;
const ALIGNMENT: usize = 16;
/// A payload fits into one frame of the data plane and one gRPC message with room to spare.
pub const PAYLOAD_BYTES_MAX: usize = 48 << 20;
const ZSTD_LEVEL: i32 = 1;

/// Encodes batches of one schema, reusing its scratch memory.
pub struct Encoder {
    codec: Codec,
    options: IpcWriteOptions,
    context: IpcWriteContext,
    body: Vec<u8>,
    packed: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// One batch as one payload.
pub fn encode(batch: &RecordBatch, codec: Codec) -> Result<Bytes, BatchIoError> {
    Encoder::new(codec)?.encode(batch)
}

impl Encoder {
    pub fn new(codec: Codec) -> Result<Self, BatchIoError> {
        let options = IpcWriteOptions::try_new(ALIGNMENT, false, arrow::ipc::MetadataVersion::V5)?;
        Ok(Self { codec, options, context: IpcWriteContext::default(), body: Vec::new(), packed: Vec::new() })
    }

    /// The caller has compacted views: all data buffers of a view array travel.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Bytes, BatchIoError> {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        self.write_messages(batch, &mut body)?;
        let payload = self.frame(&body);
        self.body = body;
        payload
    }

    fn write_messages(&mut self, batch: &RecordBatch, body: &mut Vec<u8>) -> Result<(), BatchIoError> {
        let generator = IpcDataGenerator::default();
        let mut dictionaries = DictionaryTracker::new(false);
        if has_dictionary(batch.schema_ref()) {
            // Numbers the dictionaries as the reader does; the schema itself is not sent.
            generator.schema_to_bytes_with_dictionary_tracker(
                batch.schema_ref(),
                &mut dictionaries,
                &self.options,
            );
        }
        let (before, batch) = generator.encode(batch, &mut dictionaries, &self.options, &mut self.context)?;
        before.iter().chain([&batch]).try_for_each(|message| append_message(body, message))
    }

    fn frame(&mut self, body: &[u8]) -> Result<Bytes, BatchIoError> {
        if body.len() > PAYLOAD_BYTES_MAX {
            return Err(BatchIoError::TooLarge { bytes: body.len(), limit: PAYLOAD_BYTES_MAX });
        }
        let (codec, packed_bytes) = match self.codec {
            Codec::None => return Ok(framed(0, body.len(), body)),
            Codec::Lz4 => (1, self.lz4(body)?),
            Codec::Zstd => (2, self.zstd(body)?),
        };
        // A little smaller is not worth the reader's time.
        match packed_bytes < body.len() - body.len() / 16 {
            true => Ok(framed(codec, body.len(), &self.packed[..packed_bytes])),
            false => Ok(framed(0, body.len(), body)),
        }
    }

    fn lz4(&mut self, body: &[u8]) -> Result<usize, BatchIoError> {
        self.reserve_packed(lz4_flex::block::get_maximum_output_size(body.len()));
        lz4_flex::block::compress_into(body, &mut self.packed)
            .map_err(|error| BatchIoError::Compress(std::io::Error::other(error)))
    }

    fn zstd(&mut self, body: &[u8]) -> Result<usize, BatchIoError> {
        self.reserve_packed(zstd::zstd_safe::compress_bound(body.len()));
        zstd::bulk::compress_to_buffer(body, &mut self.packed[..], ZSTD_LEVEL).map_err(BatchIoError::Compress)
    }

    fn reserve_packed(&mut self, bytes: usize) {
        if self.packed.len() < bytes {
            self.packed.resize(bytes, 0);
        }
    }
}

/// A payload of exactly its size: it may wait in a window for long and must not hold the worst case of its size.
fn framed(codec: u8, body_bytes: usize, packed: &[u8]) -> Bytes {
    let mut payload = Vec::with_capacity(HEADER_BYTES + packed.len());
    payload.extend_from_slice(&[codec, 0, 0, 0]);
    payload.extend_from_slice(&(body_bytes as u32).to_le_bytes());
    payload.resize(HEADER_BYTES, 0);
    payload.extend_from_slice(packed);
    payload.into()
}

fn has_dictionary(schema: &Schema) -> bool {
    schema.flattened_fields().iter().any(|field| matches!(field.data_type(), DataType::Dictionary(_, _)))
}

fn append_message(body: &mut Vec<u8>, message: &EncodedData) -> Result<(), BatchIoError> {
    let too_large = |bytes: usize| BatchIoError::TooLarge { bytes, limit: PAYLOAD_BYTES_MAX };
    let metadata_bytes =
        u32::try_from(message.ipc_message.len()).map_err(|_| too_large(message.ipc_message.len()))?;
    let data_bytes =
        u32::try_from(message.arrow_data.len()).map_err(|_| too_large(message.arrow_data.len()))?;
    body.reserve(MESSAGE_HEADER_BYTES + message.ipc_message.len() + message.arrow_data.len() + 2 * ALIGNMENT);
    body.put_u32_le(metadata_bytes);
    body.put_u32_le(data_bytes);
    body.put_u64_le(0);
    for part in [&message.ipc_message, &message.arrow_data] {
        body.extend_from_slice(part);
        body.resize(body.len().next_multiple_of(ALIGNMENT), 0);
    }
    Ok(())
}

/// Decodes the payloads of one exchange.
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    /// The same schema with the dictionary numbers that writers use.
    numbered: SchemaRef,
}

impl Decoder {
    pub fn new(schema: SchemaRef) -> Self {
        let numbered = if has_dictionary(&schema) { number_dictionaries(&schema) } else { schema.clone() };
        Self { schema, numbered }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The batches of one payload; an error if it is damaged or of another schema, never fewer rows.
    pub fn decode(&mut self, payload: Bytes) -> Result<Vec<RecordBatch>, BatchIoError> {
        let body = unpack(payload)?;
        let mut rest = 0;
        let mut dictionaries = HashMap::new();
        let mut batches = Vec::with_capacity(1);
        while rest < body.len() {
            let (metadata, data) = next_message(&body, &mut rest)?;
            self.decode_message(&metadata, &data, &mut dictionaries, &mut batches)?;
        }
        Ok(batches)
    }

    fn decode_message(
        &self,
        metadata: &[u8],
        data: &Buffer,
        dictionaries: &mut HashMap<i64, ArrayRef>,
        batches: &mut Vec<RecordBatch>,
    ) -> Result<(), BatchIoError> {
        let message =
            root_as_message(metadata).map_err(|_| BatchIoError::Damaged { reason: "no message" })?;
        match message.header_type() {
            MessageHeader::DictionaryBatch => {
                let batch = message
                    .header_as_dictionary_batch()
                    .ok_or(BatchIoError::Damaged { reason: "no dictionary in a dictionary message" })?;
                reader::read_dictionary(data, batch, &self.numbered, dictionaries, &message.version())?;
            }
            MessageHeader::RecordBatch => {
                let batch = message
                    .header_as_record_batch()
                    .ok_or(BatchIoError::Damaged { reason: "no batch in a batch message" })?;
                let schema = self.numbered.clone();
                let batch =
                    reader::read_record_batch(data, batch, schema, dictionaries, None, &message.version())?;
                batches.push(self.relabel(batch)?);
            }
            _ => return Err(BatchIoError::Damaged { reason: "a message is neither dictionary nor batch" }),
        }
        Ok(())
    }

    fn relabel(&self, batch: RecordBatch) -> Result<RecordBatch, BatchIoError> {
        if std::sync::Arc::ptr_eq(&self.schema, &self.numbered) {
            return Ok(batch);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), batch.columns().to_vec(), &options)?)
    }
}

fn number_dictionaries(schema: &Schema) -> SchemaRef {
    let options = IpcWriteOptions::default();
    let mut tracker = DictionaryTracker::new(false);
    let encoded =
        IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(schema, &mut tracker, &options);
    let message = root_as_message(&encoded.ipc_message).expect("was encoded one line above");
    std::sync::Arc::new(fb_to_schema(message.header_as_schema().expect("is a schema message")))
}

fn unpack(payload: Bytes) -> Result<Buffer, BatchIoError> {
    if payload.len() < HEADER_BYTES {
        return Err(BatchIoError::Damaged { reason: "shorter than its header" });
    }
    let codec = payload[0];
    let body_bytes = u32::from_le_bytes([payload[4], payload[5], payload[6], payload[7]]) as usize;
    if body_bytes > PAYLOAD_BYTES_MAX {
        return Err(BatchIoError::TooLarge { bytes: body_bytes, limit: PAYLOAD_BYTES_MAX });
    }
    let packed = payload.slice(HEADER_BYTES..);
    match codec {
        0 if packed.len() == body_bytes => Ok(aligned(packed)),
        0 => Err(BatchIoError::Damaged { reason: "cut short" }),
        1 => decompress(body_bytes, |body| {
            lz4_flex::block::decompress_into(&packed, body).map_err(std::io::Error::other)
        }),
        2 => decompress(body_bytes, |body| zstd::bulk::decompress_to_buffer(&packed, body)),
        codec => Err(BatchIoError::UnknownCodec { codec }),
    }
}

fn decompress(
    body_bytes: usize,
    into: impl FnOnce(&mut [u8]) -> std::io::Result<usize>,
) -> Result<Buffer, BatchIoError> {
    let mut body = MutableBuffer::from_len_zeroed(body_bytes);
    match into(body.as_slice_mut()).map_err(BatchIoError::Decompress)? {
        written if written == body_bytes => Ok(body.into()),
        _ => Err(BatchIoError::Damaged { reason: "decompresses to another length" }),
    }
}

/// Arrow would copy every misaligned buffer on its own; one copy of all is cheaper.
fn aligned(body: Bytes) -> Buffer {
    if body.as_ptr().align_offset(ALIGNMENT) == 0 {
        Buffer::from(body)
    } else {
        Buffer::from_slice_ref(&body)
    }
}

fn next_message(body: &Buffer, rest: &mut usize) -> Result<(Buffer, Buffer), BatchIoError> {
    let cut_short = || BatchIoError::Damaged { reason: "a message is cut short" };
    let header = body.get(*rest..*rest + MESSAGE_HEADER_BYTES).ok_or_else(cut_short)?;
    let length =
        |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
    let (metadata_bytes, data_bytes) = (length(0), length(4));
    let metadata_at = *rest + MESSAGE_HEADER_BYTES;
    let data_at = metadata_at + metadata_bytes.next_multiple_of(ALIGNMENT);
    let end = data_at + data_bytes.next_multiple_of(ALIGNMENT);
    if end > body.len() {
        return Err(cut_short());
    }
    *rest = end;
    Ok((body.slice_with_length(metadata_at, metadata_bytes), body.slice_with_length(data_at, data_bytes)))
}
