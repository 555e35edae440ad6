//! Payloads of the exchange: encoding and decoding a batch of mixed columns, per codec.

use std::{hint::black_box, sync::Arc};

use arrow::{
    array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringViewArray},
    error::ArrowError,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use penstock_batches::{Codec, Decoder, encode};

const ROWS: i64 = 8_192;

/// Keys, money and short text, as in TPC-H.
fn batch() -> Result<RecordBatch, ArrowError> {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
    let prices = Decimal128Array::from_iter_values((0..ROWS).map(|row| i128::from(row * 7919 % 1_000_003)));
    let prices: ArrayRef = Arc::new(prices.with_precision_and_scale(15, 2)?);
    let modes = ["AIR", "TRUCK", "SHIP", "deliver in person before noon"];
    let modes =
        StringViewArray::from_iter_values((0..ROWS as usize).map(|row| modes[row * 31 % modes.len()]));
    RecordBatch::try_from_iter([("key", keys), ("price", prices), ("mode", Arc::new(modes) as ArrayRef)])
}

fn batches(criterion: &mut Criterion) {
    let batch = batch().expect("the columns have one length");
    let mut group = criterion.benchmark_group("batches");
    group.throughput(Throughput::Bytes(batch.get_array_memory_size() as u64));
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        group.bench_function(format!("encode {codec:?}"), |bencher| {
            bencher.iter(|| encode(black_box(&batch), codec).expect("encodes"));
        });
        let payload = encode(&batch, codec).expect("encodes");
        let mut decoder = Decoder::new(batch.schema());
        group.bench_function(format!("decode {codec:?}"), |bencher| {
            bencher.iter(|| decoder.decode(black_box(payload.clone())).expect("decodes"));
        });
    }
    group.finish();
}

criterion_group!(benches, batches);
criterion_main!(benches);
