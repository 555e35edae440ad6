//! Integers in fewer bytes, and whatever arrow stores as integers: decimals, dates, times.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayData, ArrayRef, ArrowPrimitiveType, PrimitiveArray, make_array},
    buffer::{Buffer, NullBuffer},
    datatypes::{
        ArrowNativeType, DataType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type,
    },
};
use num_traits::{AsPrimitive, PrimInt};

use super::{Narrowing, joined_nulls};
use crate::BatchIoError;

/// Bytes of a value that travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Width {
    One = 1,
    Two = 2,
    Four = 4,
    Eight = 8,
}

impl Width {
    pub fn of(bytes: u16) -> Option<Self> {
        [Self::One, Self::Two, Self::Four, Self::Eight].into_iter().find(|width| *width as u16 == bytes)
    }

    /// The smallest that holds so many bits; none beyond 64.
    fn holding(bits: u32) -> Option<Self> {
        match bits {
            0..=8 => Some(Self::One),
            9..=16 => Some(Self::Two),
            17..=32 => Some(Self::Four),
            33..=64 => Some(Self::Eight),
            _ => None,
        }
    }
}

/// The integers that a type is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    I16,
    I32,
    I64,
    I128,
    U16,
    U32,
    U64,
}

impl Stored {
    fn of(data_type: &DataType) -> Option<Self> {
        use DataType::*;
        Some(match data_type {
            Int16 => Self::I16,
            Int32 | Date32 | Time32(_) | Decimal32(..) => Self::I32,
            Int64 | Date64 | Time64(_) | Timestamp(..) | Duration(_) | Decimal64(..) => Self::I64,
            Decimal128(..) => Self::I128,
            UInt16 => Self::U16,
            UInt32 => Self::U32,
            UInt64 => Self::U64,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 => 4,
            Self::I64 | Self::U64 => 8,
            Self::I128 => 16,
        }
    }

    fn is_signed(self) -> bool {
        matches!(self, Self::I16 | Self::I32 | Self::I64 | Self::I128)
    }
}

/// The rows of all pieces in fewer bytes, if their values fit.
pub(super) fn narrow(pieces: &[&ArrayRef]) -> Option<(ArrayRef, Narrowing)> {
    match Stored::of(pieces[0].data_type())? {
        Stored::I16 => narrow_signed::<i16>(pieces),
        Stored::I32 => narrow_signed::<i32>(pieces),
        Stored::I64 => narrow_signed::<i64>(pieces),
        Stored::I128 => narrow_signed::<i128>(pieces),
        Stored::U16 => narrow_unsigned::<u16>(pieces),
        Stored::U32 => narrow_unsigned::<u32>(pieces),
        Stored::U64 => narrow_unsigned::<u64>(pieces),
    }
}

/// The type in which values of `wide` travel; none if it is not narrower.
pub(super) fn narrow_type(wide: &DataType, width: Width) -> Option<DataType> {
    let stored = Stored::of(wide).filter(|stored| (width as usize) < stored.bytes())?;
    Some(match (stored.is_signed(), width) {
        (true, Width::One) => DataType::Int8,
        (true, Width::Two) => DataType::Int16,
        (true, Width::Four) => DataType::Int32,
        (true, Width::Eight) => DataType::Int64,
        (false, Width::One) => DataType::UInt8,
        (false, Width::Two) => DataType::UInt16,
        (false, Width::Four) => DataType::UInt32,
        (false, Width::Eight) => return None,
    })
}

pub(super) fn widen(array: &ArrayRef, wide: &DataType) -> Result<ArrayRef, BatchIoError> {
    let data = array.to_data();
    let values = match Stored::of(wide) {
        Some(Stored::I16) => widen_values::<i16>(&data),
        Some(Stored::I32) => widen_values::<i32>(&data),
        Some(Stored::I64) => widen_values::<i64>(&data),
        Some(Stored::I128) => widen_values::<i128>(&data),
        Some(Stored::U16) => widen_values::<u16>(&data),
        Some(Stored::U32) => widen_values::<u32>(&data),
        Some(Stored::U64) => widen_values::<u64>(&data),
        None => None,
    };
    let values =
        values.ok_or(BatchIoError::Damaged { reason: "a column came in a type that is not its own" })?;
    let builder = ArrayData::builder(wide.clone()).len(data.len()).nulls(data.nulls().cloned());
    Ok(make_array(builder.add_buffer(values).build()?))
}

fn values<T: ArrowNativeType>(data: &ArrayData) -> &[T] {
    &data.buffer::<T>(0)[..data.len()]
}

/// What the bits of any value are, those of negative ones turned round: they need as many bits as their complement. What
/// lies under nulls counts, too: it travels.
fn signed_bits<T: PrimInt>(values: &[T]) -> T {
    let sign = size_of::<T>() as u32 * 8 - 1;
    values.iter().fold(T::zero(), |any, value| any | (*value ^ value.signed_shr(sign)))
}

fn unsigned_bits<T: PrimInt>(values: &[T]) -> T {
    values.iter().fold(T::zero(), |any, value| any | *value)
}

/// What holds these bits and so many more, if that is narrower than they are.
fn width<T: PrimInt>(bits: T, more: u32) -> Option<Width> {
    let wide = size_of::<T>();
    let width = Width::holding(wide as u32 * 8 - bits.leading_zeros() + more)?;
    ((width as usize) < wide).then_some(width)
}

fn narrow_signed<T>(pieces: &[&ArrayRef]) -> Option<(ArrayRef, Narrowing)>
where
    T: ArrowNativeType + PrimInt + AsPrimitive<i8> + AsPrimitive<i16> + AsPrimitive<i32> + AsPrimitive<i64>,
{
    let data: Vec<_> = pieces.iter().map(|piece| piece.to_data()).collect();
    let bits = data.iter().fold(T::zero(), |any, data| any | signed_bits::<T>(values(data)));
    let width = width(bits, 1)?;
    let nulls = joined_nulls(pieces);
    let array = match width {
        Width::One => converted::<T, Int8Type>(&data, nulls),
        Width::Two => converted::<T, Int16Type>(&data, nulls),
        Width::Four => converted::<T, Int32Type>(&data, nulls),
        Width::Eight => converted::<T, Int64Type>(&data, nulls),
    };
    Some((array, Narrowing::Integers(width)))
}

fn narrow_unsigned<T>(pieces: &[&ArrayRef]) -> Option<(ArrayRef, Narrowing)>
where
    T: ArrowNativeType + PrimInt + AsPrimitive<u8> + AsPrimitive<u16> + AsPrimitive<u32>,
{
    let data: Vec<_> = pieces.iter().map(|piece| piece.to_data()).collect();
    let bits = data.iter().fold(T::zero(), |any, data| any | unsigned_bits::<T>(values(data)));
    let width = width(bits, 0)?;
    let nulls = joined_nulls(pieces);
    let array = match width {
        Width::One => converted::<T, UInt8Type>(&data, nulls),
        Width::Two => converted::<T, UInt16Type>(&data, nulls),
        Width::Four => converted::<T, UInt32Type>(&data, nulls),
        Width::Eight => return None,
    };
    Some((array, Narrowing::Integers(width)))
}

fn converted<T, N>(pieces: &[ArrayData], nulls: Option<NullBuffer>) -> ArrayRef
where
    T: ArrowNativeType + AsPrimitive<N::Native>,
    N: ArrowPrimitiveType,
{
    let mut narrowed = Vec::<N::Native>::with_capacity(pieces.iter().map(ArrayData::len).sum());
    for piece in pieces {
        narrowed.extend(values::<T>(piece).iter().map(|value| value.as_()));
    }
    Arc::new(PrimitiveArray::<N>::new(narrowed.into(), nulls))
}

/// The values of an array that came, in the integers of its own type.
fn widen_values<T>(data: &ArrayData) -> Option<Buffer>
where
    T: ArrowNativeType,
    i8: AsPrimitive<T>,
    i16: AsPrimitive<T>,
    i32: AsPrimitive<T>,
    i64: AsPrimitive<T>,
    u8: AsPrimitive<T>,
    u16: AsPrimitive<T>,
    u32: AsPrimitive<T>,
{
    Some(match data.data_type() {
        DataType::Int8 => widened::<i8, T>(data),
        DataType::Int16 => widened::<i16, T>(data),
        DataType::Int32 => widened::<i32, T>(data),
        DataType::Int64 => widened::<i64, T>(data),
        DataType::UInt8 => widened::<u8, T>(data),
        DataType::UInt16 => widened::<u16, T>(data),
        DataType::UInt32 => widened::<u32, T>(data),
        _ => return None,
    })
}

fn widened<N: ArrowNativeType + AsPrimitive<T>, T: ArrowNativeType>(data: &ArrayData) -> Buffer {
    Buffer::from_vec(values::<N>(data).iter().map(|value| value.as_()).collect::<Vec<T>>())
}
