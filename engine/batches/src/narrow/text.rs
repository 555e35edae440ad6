//! Text and bytes without views: an array of views has 16 bytes a value beside those that do not fit into them.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, FixedSizeBinaryArray, GenericByteArray, GenericByteViewArray,
        GenericByteViewBuilder,
    },
    buffer::{Buffer, OffsetBuffer},
    datatypes::{
        BinaryType, BinaryViewType, ByteArrayType, ByteViewType, DataType, StringViewType, Utf8Type,
    },
};

use super::{FIXED_LENGTH_MAX, Narrowing};
use crate::BatchIoError;

/// What a view holds in itself.
const INLINE_BYTES: usize = 12;

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::BinaryView | DataType::Utf8 | DataType::Binary)
}

/// The array without views, and without offsets if all of its values have one length; none if it stays as it is.
pub(super) fn narrow(array: &ArrayRef) -> Option<(ArrayRef, Narrowing)> {
    match array.data_type() {
        DataType::Utf8View => narrow_views::<_, Utf8Type>(array.as_string_view()),
        DataType::BinaryView => narrow_views::<_, BinaryType>(array.as_binary_view()),
        DataType::Utf8 => narrow_offsets::<Utf8Type>(array.as_bytes()),
        DataType::Binary => narrow_offsets::<BinaryType>(array.as_bytes()),
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

fn narrow_views<V, B>(array: &GenericByteViewArray<V>) -> Option<(ArrayRef, Narrowing)>
where
    V: ByteViewType,
    B: ByteArrayType<Offset = i32>,
{
    let length = |view: &u128| *view as u32 as usize;
    let bytes = array.views().iter().map(length).sum::<usize>();
    // Offsets of 32 bits; far beyond what fits into a payload.
    i32::try_from(bytes).ok()?;
    // A view is copied as a whole where it holds its value: the next one overwrites what is too much.
    let mut values = vec![0; bytes + INLINE_BYTES];
    let mut at = 0;
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
    values.truncate(bytes);
    let values = Buffer::from_vec(values);
    if let Some(length) = fixed_length(array.views().iter().map(length)) {
        return fixed(length, values, array);
    }
    let offsets = OffsetBuffer::from_lengths(array.views().iter().map(length));
    let narrowed = GenericByteArray::<B>::try_new(offsets, values, array.nulls().cloned()).ok()?;
    Some((Arc::new(narrowed), Narrowing::Offsets))
}

fn narrow_offsets<B: ByteArrayType<Offset = i32>>(
    array: &GenericByteArray<B>,
) -> Option<(ArrayRef, Narrowing)> {
    let length = fixed_length(array.offsets().lengths())?;
    let (first, last) = (array.offsets()[0] as usize, array.offsets()[array.len()] as usize);
    fixed(length, array.values().slice_with_length(first, last - first), array)
}

fn fixed(length: u16, values: Buffer, array: &dyn Array) -> Option<(ArrayRef, Narrowing)> {
    let narrowed = FixedSizeBinaryArray::try_new(i32::from(length), values, array.nulls().cloned()).ok()?;
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
