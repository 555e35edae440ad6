//! Columns as they travel: in the narrowest type that holds the values of one batch.
//!
//! Keys, amounts and dates rarely need the width of their type: `decimal(15, 2)` has 16 bytes a value where prices need
//! four. Short text in views has 16 bytes a value, too. Each batch is looked at on its own, and each of its leaves (columns,
//! or what lists and structs are made of, depth first) travels by a [`Narrowing`]. Both directions are one pass over the
//! values; the narrowed batch is an ordinary batch of another schema.
//! Not here: compression, which comes after and finds less to do.

mod integers;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions,
        StructArray, builder::NullBufferBuilder,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::concat,
    datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef},
    error::ArrowError,
};

use self::integers::Width;
use crate::BatchIoError;

/// How the values of one leaf travel. Two bytes in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Narrowing {
    AsIs,
    /// As integers of so many bytes.
    Integers(Width),
    /// Text or bytes, all in a row, with 32 bit offsets.
    Offsets,
    /// Text or bytes that have this length, all of them.
    FixedLength(u16),
}

const FIXED_LENGTH_MAX: u16 = 0x7fff;
const FIXED_LENGTH: u16 = 0x8000;

impl Narrowing {
    pub fn to_code(self) -> u16 {
        match self {
            Self::AsIs => 0,
            Self::Integers(width) => width as u16,
            Self::Offsets => 0x100,
            Self::FixedLength(bytes) => FIXED_LENGTH | bytes,
        }
    }

    pub fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0 => Self::AsIs,
            0x100 => Self::Offsets,
            FIXED_LENGTH.. => Self::FixedLength(code & FIXED_LENGTH_MAX),
            bytes => Self::Integers(Width::of(bytes)?),
        })
    }
}

/// Narrows and widens the batches of one schema.
#[derive(Debug)]
pub(crate) struct Narrower {
    wide: SchemaRef,
    /// What the last batch had: the next one is likely to have the same.
    last: Option<(Vec<Narrowing>, SchemaRef)>,
}

impl Narrower {
    pub fn new(wide: SchemaRef) -> Self {
        Self { wide, last: None }
    }

    pub fn wide(&self) -> &SchemaRef {
        &self.wide
    }

    /// One batch of the rows of all pieces as it travels, and how: nothing if none of its leaves gets narrower.
    pub fn narrow(&mut self, pieces: &[RecordBatch]) -> Result<(RecordBatch, Vec<Narrowing>), BatchIoError> {
        let rows = pieces.iter().map(RecordBatch::num_rows).sum();
        let mut narrowings = Vec::with_capacity(self.wide.fields().len());
        let narrow = |column: usize| {
            let pieces: Vec<_> = pieces.iter().map(|piece| piece.column(column)).collect();
            narrow_array(&pieces, &mut narrowings)
        };
        let columns: Vec<_> = (0..self.wide.fields().len()).map(narrow).collect::<Result<_, _>>()?;
        if narrowings.iter().all(|narrowing| *narrowing == Narrowing::AsIs) {
            narrowings.clear();
        }
        Ok((with_columns(self.schema(&narrowings)?, columns, rows)?, narrowings))
    }

    /// The schema of a batch that travels by these narrowings.
    pub fn schema(&mut self, narrowings: &[Narrowing]) -> Result<SchemaRef, BatchIoError> {
        if narrowings.is_empty() {
            return Ok(Arc::clone(&self.wide));
        }
        if let Some((last, schema)) = &self.last
            && last == narrowings
        {
            return Ok(Arc::clone(schema));
        }
        let mut rest = narrowings.iter().copied();
        let fields = narrow_fields(self.wide.fields(), &mut rest)?;
        if rest.next().is_some() {
            return Err(BatchIoError::Damaged { reason: "more leaves than the schema has" });
        }
        let schema = Arc::new(Schema::new(fields));
        self.last = Some((narrowings.to_vec(), Arc::clone(&schema)));
        Ok(schema)
    }

    /// The batch in its own types, those of `schema`, from one as it travelled.
    pub fn widen(&self, batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, BatchIoError> {
        let rows = batch.num_rows();
        let (_, columns, _) = batch.into_parts();
        let fields = schema.fields().iter();
        let widen = |(column, field): (ArrayRef, &FieldRef)| widen_array(column, field.data_type());
        let columns = columns.into_iter().zip(fields).map(widen).collect::<Result<_, _>>()?;
        with_columns(Arc::clone(schema), columns, rows)
    }
}

fn with_columns(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, BatchIoError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

fn narrow_array(pieces: &[&ArrayRef], narrowings: &mut Vec<Narrowing>) -> Result<ArrayRef, ArrowError> {
    match pieces[0].data_type() {
        DataType::Struct(fields) => {
            let array = joined(pieces)?;
            let array = array.as_struct();
            let narrow = |column| narrow_array(&[column], narrowings);
            let columns: Vec<_> = array.columns().iter().map(narrow).collect::<Result<_, _>>()?;
            let fields =
                fields.iter().zip(&columns).map(|(field, column)| with_type(field, column)).collect();
            struct_of(fields, columns, array)
        }
        DataType::List(field) => narrow_list::<i32>(joined(pieces)?.as_list(), field, narrowings),
        DataType::LargeList(field) => narrow_list::<i64>(joined(pieces)?.as_list(), field, narrowings),
        _ => {
            let narrowed = integers::narrow(pieces).or_else(|| text::narrow(pieces));
            let (array, narrowing) = match narrowed {
                Some(narrowed) => narrowed,
                None => (joined(pieces)?, Narrowing::AsIs),
            };
            narrowings.push(narrowing);
            Ok(array)
        }
    }
}

fn joined(pieces: &[&ArrayRef]) -> Result<ArrayRef, ArrowError> {
    match pieces {
        [piece] => Ok(Arc::clone(piece)),
        pieces => concat(&pieces.iter().map(|piece| piece.as_ref()).collect::<Vec<_>>()),
    }
}

/// Where the rows of all pieces are null.
fn joined_nulls(pieces: &[&ArrayRef]) -> Option<NullBuffer> {
    if let [piece] = pieces {
        return piece.nulls().cloned();
    }
    let mut joined = NullBufferBuilder::new(pieces.iter().map(|piece| piece.len()).sum());
    for piece in pieces {
        match piece.nulls() {
            Some(nulls) => joined.append_buffer(nulls),
            None => joined.append_n_non_nulls(piece.len()),
        }
    }
    joined.finish()
}

fn narrow_list<O: OffsetSizeTrait>(
    list: &GenericListArray<O>,
    field: &FieldRef,
    narrowings: &mut Vec<Narrowing>,
) -> Result<ArrayRef, ArrowError> {
    // Of a slice only its own values.
    let first = list.offsets()[0];
    let values = list.values().slice(first.as_usize(), (list.offsets()[list.len()] - first).as_usize());
    let offsets = list.offsets().iter().map(|offset| *offset - first).collect::<Vec<_>>();
    let values = narrow_array(&[&values], narrowings)?;
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(Arc::new(GenericListArray::try_new(
        with_type(field, &values),
        offsets,
        values,
        list.nulls().cloned(),
    )?))
}

fn with_type(field: &FieldRef, array: &ArrayRef) -> FieldRef {
    if field.data_type() == array.data_type() {
        return Arc::clone(field);
    }
    Arc::new(field.as_ref().clone().with_data_type(array.data_type().clone()))
}

fn struct_of(fields: Fields, columns: Vec<ArrayRef>, like: &StructArray) -> Result<ArrayRef, ArrowError> {
    let nulls = like.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields, columns, nulls, like.len())?))
}

fn narrow_fields(
    fields: &Fields,
    narrowings: &mut impl Iterator<Item = Narrowing>,
) -> Result<Fields, BatchIoError> {
    fields.iter().map(|field| narrow_field(field, narrowings)).collect()
}

fn narrow_field(
    field: &Field,
    narrowings: &mut impl Iterator<Item = Narrowing>,
) -> Result<FieldRef, BatchIoError> {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(narrow_fields(fields, narrowings)?),
        DataType::List(values) => DataType::List(narrow_field(values, narrowings)?),
        DataType::LargeList(values) => DataType::LargeList(narrow_field(values, narrowings)?),
        leaf => {
            let narrowing = narrowings
                .next()
                .ok_or(BatchIoError::Damaged { reason: "fewer leaves than the schema has" })?;
            narrow_leaf(leaf, narrowing)
                .ok_or(BatchIoError::Damaged { reason: "a leaf travels in a way that its type cannot" })?
        }
    };
    Ok(Arc::new(field.clone().with_data_type(data_type)))
}

fn narrow_leaf(leaf: &DataType, narrowing: Narrowing) -> Option<DataType> {
    match narrowing {
        Narrowing::AsIs => Some(leaf.clone()),
        Narrowing::Integers(width) => integers::narrow_type(leaf, width),
        Narrowing::Offsets => text::with_offsets(leaf),
        Narrowing::FixedLength(bytes) => text::with_fixed_length(leaf, bytes),
    }
}

fn widen_array(array: ArrayRef, wide: &DataType) -> Result<ArrayRef, BatchIoError> {
    if array.data_type() == wide {
        return Ok(array);
    }
    match wide {
        DataType::Struct(fields) => {
            let array = array.as_struct();
            let widen =
                |(column, field): (&ArrayRef, &FieldRef)| widen_array(column.clone(), field.data_type());
            let columns = array.columns().iter().zip(fields).map(widen).collect::<Result<_, _>>()?;
            Ok(struct_of(fields.clone(), columns, array)?)
        }
        DataType::List(field) => widen_list::<i32>(array.as_list(), field),
        DataType::LargeList(field) => widen_list::<i64>(array.as_list(), field),
        leaf if text::is_text(leaf) => text::widen(&array, leaf),
        leaf => integers::widen(&array, leaf),
    }
}

fn widen_list<O: OffsetSizeTrait>(
    list: &GenericListArray<O>,
    field: &FieldRef,
) -> Result<ArrayRef, BatchIoError> {
    let values = widen_array(Arc::clone(list.values()), field.data_type())?;
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    Ok(Arc::new(GenericListArray::try_new(Arc::clone(field), offsets, values, nulls)?))
}
