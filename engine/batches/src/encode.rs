//! A batch becomes a payload.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions},
};
use bytes::Bytes;

use crate::{
    ALIGNMENT, BatchIoError, Codec, HEADER_BYTES, PAYLOAD_BYTES_MAX, has_dictionary,
    narrow::{Narrower, Narrowing},
    padded,
    sampling::Sampling,
};

const ZSTD_LEVEL: i32 = 1;

/// Encodes the batches of one exchange, reusing its scratch memory.
pub struct Encoder {
    codec: Codec,
    sampling: Sampling,
    narrower: Option<Narrower>,
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
    Encoder::new(codec)?.encode(std::slice::from_ref(batch))
}

impl Encoder {
    pub fn new(codec: Codec) -> Result<Self, BatchIoError> {
        let options = IpcWriteOptions::try_new(ALIGNMENT, false, arrow::ipc::MetadataVersion::V5)?;
        let mut context = IpcWriteContext::default();
        context.set_reserve_scratch(true);
        Ok(Self {
            codec,
            sampling: Sampling::default(),
            narrower: None,
            options,
            context,
            packed: Vec::new(),
        })
    }

    /// One payload of the rows of all pieces, in their order: at least one, all of one schema.
    pub fn encode(&mut self, pieces: &[RecordBatch]) -> Result<Bytes, BatchIoError> {
        let (batch, narrowings) = self.narrower(pieces[0].schema_ref()).narrow(pieces)?;
        let (dictionaries, batch) = self.messages(&batch)?;
        let messages = dictionaries.iter().map(|message| (message, [].as_slice()));
        let messages = messages.chain([(&batch, narrowings.as_slice())]);
        let bytes =
            messages.clone().map(|(message, _)| message.ipc_message.len() + message.arrow_data.len()).sum();
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(BatchIoError::TooLarge { bytes, limit: PAYLOAD_BYTES_MAX });
        }
        let mut payload = Vec::new();
        for (message, narrowings) in messages {
            self.append(message, narrowings, &mut payload)?;
        }
        Ok(payload.into())
    }

    /// That of the last payload, unless this one says otherwise what may be null.
    fn narrower(&mut self, schema: &SchemaRef) -> &mut Narrower {
        if self.narrower.as_ref().is_none_or(|narrower| narrower.wide() != schema) {
            self.narrower = None;
        }
        self.narrower.get_or_insert_with(|| Narrower::new(Arc::clone(schema)))
    }

    /// The dictionaries of a batch, and the batch.
    fn messages(&mut self, batch: &RecordBatch) -> Result<(Vec<EncodedData>, EncodedData), BatchIoError> {
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
        Ok(generator.encode(batch, &mut dictionaries, &self.options, &mut self.context)?)
    }

    fn append(
        &mut self,
        message: &EncodedData,
        narrowings: &[Narrowing],
        payload: &mut Vec<u8>,
    ) -> Result<(), BatchIoError> {
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
        let leaves = u16::try_from(narrowings.len())
            .map_err(|_| BatchIoError::TooManyLeaves { leaves: narrowings.len() })?;
        let codes: Vec<u8> =
            narrowings.iter().flat_map(|narrowing| narrowing.to_code().to_le_bytes()).collect();
        let parts = [codes.as_slice(), &message.ipc_message, packed];
        // Exactly its size: a payload may wait in a window for long.
        payload.reserve_exact(HEADER_BYTES + parts.iter().map(|part| padded(part.len())).sum::<usize>());
        payload.extend_from_slice(&[codec, 0]);
        payload.extend_from_slice(&leaves.to_le_bytes());
        for length in [message.ipc_message.len(), data.len(), packed.len()] {
            payload.extend_from_slice(&(length as u32).to_le_bytes());
        }
        for part in parts {
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
