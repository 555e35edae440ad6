//! A payload becomes batches again.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch},
    buffer::{Buffer, MutableBuffer},
    datatypes::{Schema, SchemaRef},
    ipc::{
        MessageHeader,
        convert::fb_to_schema,
        reader, root_as_message,
        writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions},
    },
};
use bytes::Bytes;

use crate::{
    ALIGNMENT, BatchIoError, HEADER_BYTES, NARROWING_BYTES, PAYLOAD_BYTES_MAX, has_dictionary,
    narrow::{Narrower, Narrowing},
    padded,
};

/// Decodes the payloads of one exchange.
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    /// Of the same schema with the dictionary numbers that writers use.
    narrower: Narrower,
}

impl Decoder {
    pub fn new(schema: SchemaRef) -> Self {
        let numbered =
            if has_dictionary(&schema) { number_dictionaries(&schema) } else { Arc::clone(&schema) };
        Self { schema, narrower: Narrower::new(numbered) }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The batches of one payload; an error if it is damaged or of another schema, never fewer rows.
    pub fn decode(&mut self, mut payload: Bytes) -> Result<Vec<RecordBatch>, BatchIoError> {
        let mut dictionaries = HashMap::new();
        let mut batches = Vec::with_capacity(1);
        while !payload.is_empty() {
            let message = Message::take(&mut payload)?;
            self.decode_message(&message, &mut dictionaries, &mut batches)?;
        }
        match batches.is_empty() {
            true => Err(BatchIoError::Damaged { reason: "there is no batch in it" }),
            false => Ok(batches),
        }
    }

    fn decode_message(
        &mut self,
        Message { narrowings, metadata, data }: &Message,
        dictionaries: &mut HashMap<i64, ArrayRef>,
        batches: &mut Vec<RecordBatch>,
    ) -> Result<(), BatchIoError> {
        let message =
            root_as_message(metadata).map_err(|_| BatchIoError::Damaged { reason: "no message" })?;
        let schema = self.narrower.schema(narrowings)?;
        match message.header_type() {
            MessageHeader::DictionaryBatch => {
                let batch = message
                    .header_as_dictionary_batch()
                    .ok_or(BatchIoError::Damaged { reason: "no dictionary in a dictionary message" })?;
                reader::read_dictionary(data, batch, &schema, dictionaries, &message.version())?;
            }
            MessageHeader::RecordBatch => {
                let batch = message
                    .header_as_record_batch()
                    .ok_or(BatchIoError::Damaged { reason: "no batch in a batch message" })?;
                let batch =
                    reader::read_record_batch(data, batch, schema, dictionaries, None, &message.version())?;
                batches.push(self.narrower.widen(batch, &self.schema)?);
            }
            _ => return Err(BatchIoError::Damaged { reason: "a message is neither dictionary nor batch" }),
        }
        Ok(())
    }
}

fn number_dictionaries(schema: &Schema) -> SchemaRef {
    let options = IpcWriteOptions::default();
    let mut tracker = DictionaryTracker::new(false);
    let encoded =
        IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(schema, &mut tracker, &options);
    let message = root_as_message(&encoded.ipc_message).expect("was encoded one line above");
    Arc::new(fb_to_schema(message.header_as_schema().expect("is a schema message")))
}

/// A message of a payload, unpacked.
struct Message {
    narrowings: Vec<Narrowing>,
    metadata: Bytes,
    data: Buffer,
}

impl Message {
    /// Takes the first one off the payload.
    fn take(payload: &mut Bytes) -> Result<Self, BatchIoError> {
        let header: [u8; HEADER_BYTES] = payload
            .get(..HEADER_BYTES)
            .and_then(|header| header.try_into().ok())
            .ok_or(BatchIoError::Damaged { reason: "cut short" })?;
        let length = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize
        };
        let leaves = u16::from_le_bytes([header[2], header[3]]) as usize;
        let (metadata_bytes, data_bytes, packed_bytes) = (length(4), length(8), length(12));
        if data_bytes > PAYLOAD_BYTES_MAX {
            return Err(BatchIoError::TooLarge { bytes: data_bytes, limit: PAYLOAD_BYTES_MAX });
        }
        let metadata_at = HEADER_BYTES + padded(leaves * NARROWING_BYTES);
        let data_at = metadata_at + padded(metadata_bytes);
        let end = data_at + padded(packed_bytes);
        if end > payload.len() {
            return Err(BatchIoError::Damaged { reason: "a message is cut short" });
        }
        let message = payload.split_to(end);
        Ok(Self {
            narrowings: narrowings(&message[HEADER_BYTES..HEADER_BYTES + leaves * NARROWING_BYTES])?,
            metadata: message.slice(metadata_at..metadata_at + metadata_bytes),
            data: unpack(header[0], message.slice(data_at..data_at + packed_bytes), data_bytes)?,
        })
    }
}

fn narrowings(codes: &[u8]) -> Result<Vec<Narrowing>, BatchIoError> {
    let codes = codes.chunks_exact(NARROWING_BYTES).map(|code| u16::from_le_bytes([code[0], code[1]]));
    codes
        .map(Narrowing::from_code)
        .collect::<Option<_>>()
        .ok_or(BatchIoError::Damaged { reason: "a leaf travels in an unknown way" })
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
