//! Record batches as payloads: Arrow IPC messages without a schema, each with its codec.
//!
//! Both ends know the schema from the plan, so it never travels. A payload is self-contained: dictionaries ride in
//! front of the batch that uses them. A message is a header of 16 bytes (codec, three zero bytes, then as u32 little
//! endian the length of the metadata, the plain length of the data and the packed length of the data), the metadata,
//! and the packed data, both padded to 16 bytes so that a plain payload can be used where it lies.
//! Not here: checksums and batch ids, which the shuffle adds.

mod sampling;

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
use bytes::Bytes;

use self::sampling::Sampling;

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

const HEADER_BYTES: usize = 16;
const ALIGNMENT: usize = 16;
/// A payload fits into one frame of the data plane and one gRPC message with room to spare.
pub const PAYLOAD_BYTES_MAX: usize = 48 << 20;
const ZSTD_LEVEL: i32 = 1;

/// Encodes batches of one schema, reusing its scratch memory.
pub struct Encoder {
    codec: Codec,
    sampling: Sampling,
    options: IpcWriteOptions,
    context: IpcWriteContext,
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
        let mut context = IpcWriteContext::default();
        context.set_reserve_scratch(true);
        Ok(Self { codec, sampling: Sampling::default(), options, context, packed: Vec::new() })
    }

    /// The caller has compacted views: all data buffers of a view array travel.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Bytes, BatchIoError> {
        let messages = self.messages(batch)?;
        let bytes = messages.iter().map(|message| message.ipc_message.len() + message.arrow_data.len()).sum();
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(BatchIoError::TooLarge { bytes, limit: PAYLOAD_BYTES_MAX });
        }
        let mut payload = Vec::new();
        messages.iter().try_for_each(|message| self.append(message, &mut payload))?;
        Ok(payload.into())
    }

    fn messages(&mut self, batch: &RecordBatch) -> Result<Vec<EncodedData>, BatchIoError> {
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
        let (mut messages, batch) =
            generator.encode(batch, &mut dictionaries, &self.options, &mut self.context)?;
        messages.push(batch);
        Ok(messages)
    }

    fn append(&mut self, message: &EncodedData, payload: &mut Vec<u8>) -> Result<(), BatchIoError> {
        let data = &message.arrow_data;
        let codec = if self.sampling.compresses(data.len()) { self.codec } else { Codec::None };
        let (codec, packed_bytes) = match codec {
            Codec::None => (0, data.len()),
            Codec::Lz4 => (1, self.lz4(data)?),
            Codec::Zstd => (2, self.zstd(data)?),
        };
        if codec > 0 {
            self.sampling.saw(data.len(), packed_bytes);
        }
        // A little smaller is not worth the reader's time.
        let (codec, packed) = match codec > 0 && packed_bytes < data.len() - data.len() / 16 {
            true => (codec, &self.packed[..packed_bytes]),
            false => (0, data.as_slice()),
        };
        // Exactly its size: a payload may wait in a window for long.
        payload.reserve_exact(HEADER_BYTES + padded(message.ipc_message.len()) + padded(packed.len()));
        payload.extend_from_slice(&[codec, 0, 0, 0]);
        for length in [message.ipc_message.len(), data.len(), packed.len()] {
            payload.extend_from_slice(&(length as u32).to_le_bytes());
        }
        for part in [message.ipc_message.as_slice(), packed] {
            payload.extend_from_slice(part);
            payload.resize(padded(payload.len()), 0);
        }
        Ok(())
    }

    fn lz4(&mut self, data: &[u8]) -> Result<usize, BatchIoError> {
        self.reserve_packed(lz4_flex::block::get_maximum_output_size(data.len()));
        lz4_flex::block::compress_into(data, &mut self.packed)
            .map_err(|error| BatchIoError::Compress(std::io::Error::other(error)))
    }

    fn zstd(&mut self, data: &[u8]) -> Result<usize, BatchIoError> {
        self.reserve_packed(zstd::zstd_safe::compress_bound(data.len()));
        zstd::bulk::compress_to_buffer(data, &mut self.packed[..], ZSTD_LEVEL).map_err(BatchIoError::Compress)
    }

    fn reserve_packed(&mut self, bytes: usize) {
        if self.packed.len() < bytes {
            self.packed.resize(bytes, 0);
        }
    }
}

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

fn has_dictionary(schema: &Schema) -> bool {
    schema.flattened_fields().iter().any(|field| matches!(field.data_type(), DataType::Dictionary(_, _)))
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
    pub fn decode(&mut self, mut payload: Bytes) -> Result<Vec<RecordBatch>, BatchIoError> {
        let mut dictionaries = HashMap::new();
        let mut batches = Vec::with_capacity(1);
        while !payload.is_empty() {
            let (metadata, data) = next_message(&mut payload)?;
            self.decode_message(&metadata, &data, &mut dictionaries, &mut batches)?;
        }
        match batches.is_empty() {
            true => Err(BatchIoError::Damaged { reason: "there is no batch in it" }),
            false => Ok(batches),
        }
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

/// Takes the first message off the payload.
fn next_message(payload: &mut Bytes) -> Result<(Bytes, Buffer), BatchIoError> {
    let length = |at: usize| {
        let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(|bytes| u32::from_le_bytes(bytes) as usize)
            .ok_or(BatchIoError::Damaged { reason: "cut short" })
    };
    let (codec, metadata_bytes, data_bytes, packed_bytes) =
        ((length(0)? & 0xff) as u8, length(4)?, length(8)?, length(12)?);
    if data_bytes > PAYLOAD_BYTES_MAX {
        return Err(BatchIoError::TooLarge { bytes: data_bytes, limit: PAYLOAD_BYTES_MAX });
    }
    let data_at = HEADER_BYTES + padded(metadata_bytes);
    let end = data_at + padded(packed_bytes);
    if end > payload.len() {
        return Err(BatchIoError::Damaged { reason: "a message is cut short" });
    }
    let message = payload.split_to(end);
    let metadata = message.slice(HEADER_BYTES..HEADER_BYTES + metadata_bytes);
    let data = unpack(codec, message.slice(data_at..data_at + packed_bytes), data_bytes)?;
    Ok((metadata, data))
}

fn unpack(codec: u8, packed: Bytes, data_bytes: usize) -> Result<Buffer, BatchIoError> {
    match codec {
        0 if packed.len() == data_bytes => Ok(aligned(packed)),
        0 => Err(BatchIoError::Damaged { reason: "plain data of another length" }),
        1 => decompress(data_bytes, |data| {
            lz4_flex::block::decompress_into(&packed, data).map_err(std::io::Error::other)
        }),
        2 => decompress(data_bytes, |data| zstd::bulk::decompress_to_buffer(&packed, data)),
        codec => Err(BatchIoError::UnknownCodec { codec }),
    }
}

fn decompress(
    data_bytes: usize,
    into: impl FnOnce(&mut [u8]) -> std::io::Result<usize>,
) -> Result<Buffer, BatchIoError> {
    let mut data = MutableBuffer::from_len_zeroed(data_bytes);
    match into(data.as_slice_mut()).map_err(BatchIoError::Decompress)? {
        written if written == data_bytes => Ok(data.into()),
        _ => Err(BatchIoError::Damaged { reason: "decompresses to another length" }),
    }
}

/// Arrow would copy every misaligned buffer on its own; one copy of all is cheaper.
fn aligned(data: Bytes) -> Buffer {
    if data.as_ptr().align_offset(ALIGNMENT) == 0 {
        Buffer::from(data)
    } else {
        Buffer::from_slice_ref(&data)
    }
}
