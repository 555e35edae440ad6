//! Record batches as payloads: Arrow IPC messages without a schema, each with its codec.
//!
//! Both ends know the schema from the plan, so it never travels. A payload is self-contained: dictionaries ride in
//! front of the batch that uses them. A message is a header of 16 bytes (codec, a zero byte, as u16 little endian the
//! number of leaves that are narrowed or zero, then as u32 little endian the length of the metadata, the plain length of
//! the data and the packed length of the data), two bytes for each leaf, the metadata, and the packed data, all padded to
//! 16 bytes so that a plain payload can be used where it lies.
//! Not here: checksums and batch ids, which the shuffle adds.

mod decode;
mod encode;
mod narrow;
mod sampling;

use arrow::{
    datatypes::{DataType, Schema},
    error::ArrowError,
};

pub use self::{
    decode::Decoder,
    encode::{Encoder, encode},
};

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
    #[error("a batch of {leaves} columns, fields of structs counted, is over the limit of 65535")]
    TooManyLeaves { leaves: usize },
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
/// Of each leaf of a batch that is narrowed.
const NARROWING_BYTES: usize = 2;
const ALIGNMENT: usize = 16;
/// A payload, as it travels, fits into one frame of the data plane and one gRPC message with room to spare.
pub const PAYLOAD_BYTES_MAX: usize = 48 << 20;

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

fn has_dictionary(schema: &Schema) -> bool {
    schema.flattened_fields().iter().any(|field| matches!(field.data_type(), DataType::Dictionary(_, _)))
}
