//! What rows cost, and rows without the buffers that they share with others.
//!
//! An array of views keeps every buffer alive that any of its rows, or of the arrays that it was made of, pointed to.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions,
        StructArray,
    },
    datatypes::DataType,
};
use datafusion::{common::utils::memory::get_record_batch_memory_size, error::Result};

/// So much may lie idle before it is worth a copy.
const IDLE_BYTES: usize = 64 << 10;

/// Bytes of the rows themselves, not of the buffers that they share with others.
pub(crate) fn data_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(array_bytes).sum()
}

pub(crate) fn array_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8View => view_bytes(array.as_string_view().views()),
        DataType::BinaryView => view_bytes(array.as_binary_view().views()),
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

fn view_bytes(views: &[u128]) -> usize {
    let long = |view: &u128| {
        let length = *view as u32 as usize;
        if length > 12 { length } else { 0 }
    };
    size_of_val(views) + views.iter().map(long).sum::<usize>()
}

/// Copies what views point to, so that no buffer travels for a few of its bytes.
pub(crate) fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    if !batch.schema_ref().flattened_fields().iter().any(|field| is_view(field.data_type())) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().map(compact_array).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

/// The same rows; copied if they keep alive more than twice what they are.
pub(crate) fn compact_if_wasteful(batch: RecordBatch) -> Result<RecordBatch> {
    let kept_alive = get_record_batch_memory_size(&batch);
    if kept_alive <= 2 * data_bytes(&batch) + IDLE_BYTES { Ok(batch) } else { compact(&batch) }
}

fn is_view(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::BinaryView)
}

fn compact_array(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8View if array.as_string_view().data_buffers().is_empty() => array.clone(),
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView if array.as_binary_view().data_buffers().is_empty() => array.clone(),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::Struct(fields) => {
            let array = array.as_struct();
            let columns = array.columns().iter().map(compact_array).collect::<Result<_>>()?;
            Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                columns,
                array.nulls().cloned(),
                array.len(),
            )?)
        }
        DataType::List(_) => compact_list::<i32>(array.as_list())?,
        DataType::LargeList(_) => compact_list::<i64>(array.as_list())?,
        _ => array.clone(),
    })
}

fn compact_list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> Result<ArrayRef> {
    let field = match list.data_type() {
        DataType::List(field) | DataType::LargeList(field) => field.clone(),
        _ => return Ok(Arc::new(list.clone())),
    };
    let values = compact_array(list.values())?;
    Ok(Arc::new(GenericListArray::try_new(field, list.offsets().clone(), values, list.nulls().cloned())?))
}
