//! Rows as payloads: numbers and padding between stages, Arrow batches for results, which the coordinator decodes.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use bytes::{Buf, BufMut, Bytes};
use penstock_batches::Codec;

use crate::random::mix;

/// Of every scripted result.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("row", DataType::UInt64, false)]))
}

/// The sizes of the batches that so many rows are cut into.
pub fn counts(rows: usize, cut: u64) -> impl Iterator<Item = u32> {
    let mut left = rows as u64;
    let mut number = 0;
    std::iter::from_fn(move || {
        number += 1;
        let count = (mix(&[cut, number]) % 64 + 1).min(left);
        left -= count;
        (count > 0).then_some(count as u32)
    })
}

fn chunks(rows: &[u64], cut: u64) -> impl Iterator<Item = &[u64]> {
    let mut rest = rows;
    counts(rows.len(), cut).map(move |count| {
        let (chunk, after) = rest.split_at(count as usize);
        rest = after;
        chunk
    })
}

/// Between stages: the partition, the number of rows, the rows, padding.
pub fn batches(partition: u32, rows: &[u64], cut: u64, padding_max: u64) -> Vec<Bytes> {
    let encode = |(number, chunk): (u64, &[u64])| {
        let padding = mix(&[cut, number, 1]) % (padding_max + 1);
        let mut payload = Vec::with_capacity(8 + chunk.len() * 8 + padding as usize);
        payload.put_u32_le(partition);
        payload.put_u32_le(chunk.len() as u32);
        chunk.iter().for_each(|row| payload.put_u64_le(*row));
        payload.resize(payload.len() + padding as usize, number as u8);
        Bytes::from(payload)
    };
    (0..).zip(chunks(rows, cut)).map(encode).collect()
}

/// The partition and the rows of a payload; none if it is not one.
pub fn decode(payload: &[u8]) -> Option<(u32, Vec<u64>)> {
    let mut rest = payload;
    if rest.len() < 8 {
        return None;
    }
    let (partition, count) = (rest.get_u32_le(), rest.get_u32_le() as usize);
    (rest.len() >= count * 8).then(|| (partition, (0..count).map(|_| rest.get_u64_le()).collect()))
}

pub fn results(rows: &[u64], cut: u64) -> Vec<Bytes> {
    let encode = |chunk: &[u64]| {
        let column = Arc::new(UInt64Array::from(chunk.to_vec()));
        let batch = RecordBatch::try_new(schema(), vec![column]).expect("one column of the schema's type");
        penstock_batches::encode(&batch, Codec::None).expect("a few rows fit into a payload")
    };
    chunks(rows, cut).map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_whatever_the_cut() {
        let rows: Vec<u64> = (0..500).collect();
        for cut in 0..20 {
            let payloads = batches(3, &rows, cut, 100);
            assert_eq!(payloads.len(), counts(rows.len(), cut).count());
            let decoded: Vec<_> = payloads.iter().map(|payload| decode(payload).expect("is one")).collect();
            assert!(decoded.iter().all(|(partition, _)| *partition == 3));
            let read: Vec<u64> = decoded.into_iter().flat_map(|(_, rows)| rows).collect();
            assert_eq!(read, rows);
        }
    }
}
