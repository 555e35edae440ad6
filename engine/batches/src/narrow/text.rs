//! Text and bytes without views: an array of views has 16 bytes a value beside those that do not fit into them.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, FixedSizeBinaryArray, GenericByteArray, GenericByteViewArray,
        GenericByteViewBuilder,
    },
    buffer::{Buffer, MutableBuffer, OffsetBuffer},
    datatypes::{
        BinaryType, BinaryViewType, ByteArrayType, ByteViewType, DataType, StringViewType, Utf8Type,
    },
};

use super::{FIXED_LENGTH_MAX, Narrowing, joined_nulls};
use crate::BatchIoError;

/// What a view holds in itself.
const INLINE_BYTES: usize = 12;

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::BinaryView | DataType::Utf8 | DataType::Binary)
}

/// The rows of all pieces without views, and without offsets if all values have one length; none if they stay as they are.
pub(super) fn narrow(pieces: &[&ArrayRef]) -> Option<(ArrayRef, Narrowing)> {
    match pieces[0].data_type() {
        DataType::Utf8View => narrow_views::<StringViewType, Utf8Type>(pieces),
        DataType::BinaryView => narrow_views::<BinaryViewType, BinaryType>(pieces),
        DataType::Utf8 => narrow_offsets::<Utf8Type>(pieces),
        DataType::Binary => narrow_offsets::<BinaryType>(pieces),
        _ => None,
    }
}

/// The type of text or bytes that travel with offsets instead of views.
pub(super) fn with_offsets(wide: &DataType) -> Option<DataType> {
    match wide {
        DataType::Utf8View => Some(DataType::Utf8),
        DataType::BinaryView => Some(DataType::Binary),
        _ => None,
    }
}

pub(super) fn with_fixed_length(wide: &DataType, bytes: u16) -> Option<DataType> {
    (is_text(wide) && bytes > 0).then(|| DataType::FixedSizeBinary(i32::from(bytes)))
}

fn narrow_views<V: ByteViewType, B: ByteArrayType<Offset = i32>>(
    pieces: &[&ArrayRef],
) -> Option<(ArrayRef, Narrowing)> {
    let arrays: Vec<_> = pieces.iter().map(|piece| piece.as_byte_view::<V>()).collect();
    let lengths = || arrays.iter().flat_map(|array| array.views()).map(length);
    let bytes = lengths().sum::<usize>();
    // Offsets have 32 bits, which is far beyond what fits into a payload.
    i32::try_from(bytes).ok()?;
    // Where a view holds its value it is copied as a whole: the next value overwrites what is too much.
    let mut values = vec![0; bytes + INLINE_BYTES];
    let mut at = 0;
    for array in &arrays {
        for view in array.views() {
            let length = length(view);
            if length <= INLINE_BYTES {
                values[at..at + INLINE_BYTES].copy_from_slice(&view.to_le_bytes()[4..]);
            } else {
                let (buffer, from) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
                let value = array.data_buffers().get(buffer)?.get(from..from + length)?;
                values[at..at + length].copy_from_slice(value);
            }
            at += length;
        }
    }
    values.truncate(bytes);
    let values = Buffer::from_vec(values);
    if let Some(length) = fixed_length(lengths()) {
        return fixed(length, values, pieces);
    }
    let offsets = OffsetBuffer::from_lengths(lengths());
    let narrowed = GenericByteArray::<B>::try_new(offsets, values, joined_nulls(pieces)).ok()?;
    Some((Arc::new(narrowed), Narrowing::Offsets))
}

fn length(view: &u128) -> usize {
    *view as u32 as usize
}

fn narrow_offsets<B: ByteArrayType<Offset = i32>>(pieces: &[&ArrayRef]) -> Option<(ArrayRef, Narrowing)> {
    let arrays: Vec<_> = pieces.iter().map(|piece| piece.as_bytes::<B>()).collect();
    let length = fixed_length(arrays.iter().flat_map(|array| array.offsets().lengths()))?;
    let values = |array: &&GenericByteArray<B>| {
        let (first, last) = (array.offsets()[0] as usize, array.offsets()[array.len()] as usize);
        array.values().slice_with_length(first, last - first)
    };
    let values = match arrays.as_slice() {
        [array] => values(array),
        arrays => {
            let mut joined = MutableBuffer::new(arrays.iter().map(|array| values(array).len()).sum());
            arrays.iter().for_each(|array| joined.extend_from_slice(&values(array)));
            joined.into()
        }
    };
    fixed(length, values, pieces)
}

fn fixed(length: u16, values: Buffer, pieces: &[&ArrayRef]) -> Option<(ArrayRef, Narrowing)> {
    let narrowed = FixedSizeBinaryArray::try_new(i32::from(length), values, joined_nulls(pieces)).ok()?;
    Some((Arc::new(narrowed), Narrowing::FixedLength(length)))
}

/// The length of all values. Those under nulls count as what they are: they travel.
fn fixed_length(mut lengths: impl Iterator<Item = usize>) -> Option<u16> {
    let first = lengths.next()?;
    let length = u16::try_from(first).ok().filter(|length| (1..=FIXED_LENGTH_MAX).contains(length))?;
    lengths.all(|length| length == first).then_some(length)
}

/// The array in its own type; an error if text is no UTF-8.
pub(super) fn widen(array: &ArrayRef, wide: &DataType) -> Result<ArrayRef, BatchIoError> {
    Ok(match wide {
        DataType::Utf8 => Arc::new(offsets::<Utf8Type>(array)?),
        DataType::Binary => Arc::new(offsets::<BinaryType>(array)?),
        DataType::Utf8View => Arc::new(views::<StringViewType, _>(&offsets::<Utf8Type>(array)?)),
        _ => Arc::new(views::<BinaryViewType, _>(&offsets::<BinaryType>(array)?)),
    })
}

fn views<V, B>(array: &GenericByteArray<B>) -> GenericByteViewArray<V>
where
    V: ByteViewType<Native = B::Native>,
    B: ByteArrayType<Offset = i32>,
{
    if array.offsets().lengths().any(|length| length > INLINE_BYTES) {
        return GenericByteViewArray::from(array);
    }
    // Without a buffer, which would keep the whole payload in memory.
    let mut views = GenericByteViewBuilder::<V>::with_capacity(array.len());
    array.iter().for_each(|value| views.append_option(value));
    views.finish()
}

fn offsets<B: ByteArrayType<Offset = i32>>(array: &ArrayRef) -> Result<GenericByteArray<B>, BatchIoError> {
    match array.data_type() {
        DataType::FixedSizeBinary(length) => {
            let fixed = array.as_fixed_size_binary();
            let offsets = OffsetBuffer::from_repeated_length(*length as usize, fixed.len());
            let values = fixed.values().clone();
            Ok(GenericByteArray::try_new(offsets, values, fixed.nulls().cloned())?)
        }
        _ => {
            let array = array.as_bytes_opt::<B>();
            array.cloned().ok_or(BatchIoError::Damaged { reason: "text came in a type that is not its own" })
        }
    }
}
