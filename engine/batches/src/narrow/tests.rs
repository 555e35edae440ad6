use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal32Array,
        Decimal64Array, Decimal128Array, DictionaryArray, DurationSecondArray, FixedSizeListArray,
        Float64Array, Int16Array, Int32Array, Int64Array, LargeListArray, ListArray, RecordBatch,
        RecordBatchOptions, StringArray, StringViewArray, StructArray, Time64MicrosecondArray,
        TimestampMicrosecondArray, UInt16Array, UInt32Array, UInt64Array,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, Fields, Int8Type, Int32Type, Schema},
};
use bytes::Bytes;
use proptest::prelude::*;

use super::{Narrowing, integers::Width};
use crate::{BatchIoError, Codec, Decoder, Encoder, HEADER_BYTES, encode};

fn batch(columns: impl IntoIterator<Item = ArrayRef>) -> RecordBatch {
    let columns = columns.into_iter().enumerate();
    RecordBatch::try_from_iter_with_nullable(columns.map(|(at, column)| (at.to_string(), column, true)))
        .expect("columns of one length")
}

/// What comes of a batch at the other end, valid in every detail; and the bytes that travelled.
fn travelled(batch: &RecordBatch) -> (RecordBatch, usize) {
    let payload = encode(batch, Codec::None).expect("encodes");
    let bytes = payload.len();
    let mut came = Decoder::new(batch.schema()).decode(payload).expect("decodes");
    for column in came[0].columns() {
        column.to_data().validate_full().expect("it is valid");
    }
    (came.remove(0), bytes)
}

/// How the leaves of a batch travel.
fn ways(batch: &RecordBatch) -> Vec<Narrowing> {
    super::Narrower::new(batch.schema()).narrow(std::slice::from_ref(batch)).expect("narrows").1
}

fn decimals(values: Vec<Option<i128>>) -> ArrayRef {
    Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, 2).expect("fits"))
}

#[test]
fn the_largest_and_the_smallest_value_decide_the_width() {
    let width = |values: &[i64]| match ways(&batch([Arc::new(Int64Array::from(values.to_vec())) as ArrayRef]))
        .first()
    {
        Some(Narrowing::Integers(width)) => *width as u16,
        _ => 8,
    };
    for (bits, narrow, wide) in [(8, 1, 2), (16, 2, 4), (32, 4, 8)] {
        let (smallest, largest) = (-(1_i64 << (bits - 1)), (1_i64 << (bits - 1)) - 1);
        assert_eq!(width(&[0, smallest, largest, 1]), narrow, "{bits} bits");
        assert_eq!(width(&[0, smallest - 1]), wide, "{bits} bits");
        assert_eq!(width(&[0, largest + 1]), wide, "{bits} bits");
    }
    assert_eq!(width(&[i64::MIN, i64::MAX]), 8);
}

#[test]
fn each_type_travels_in_the_bytes_of_its_values() {
    use Narrowing::{AsIs, FixedLength, Integers, Offsets};
    use Width::{Eight, Four, One, Two};
    let columns: [(ArrayRef, Narrowing); 17] = [
        (Arc::new(Int16Array::from(vec![-128, 127])), Integers(One)),
        (Arc::new(Int32Array::from(vec![0, 32_768])), AsIs),
        (Arc::new(UInt16Array::from(vec![0, 255])), Integers(One)),
        (Arc::new(UInt32Array::from(vec![0, 256])), Integers(Two)),
        (Arc::new(UInt64Array::from(vec![0, u64::from(u32::MAX)])), Integers(Four)),
        (Arc::new(UInt64Array::from(vec![0, u64::from(u32::MAX) + 1])), AsIs),
        (Arc::new(Decimal32Array::from(vec![1, -1])), Integers(One)),
        (Arc::new(Decimal64Array::from(vec![1, -40_000])), Integers(Four)),
        (decimals(vec![Some(i128::from(i64::MIN)), None]), Integers(Eight)),
        (decimals(vec![Some(i128::from(i64::MAX) + 1), None]), AsIs),
        (Arc::new(Date32Array::from(vec![20_786, -1])), Integers(Two)),
        (Arc::new(Time64MicrosecondArray::from(vec![1, 1 << 31])), AsIs),
        (Arc::new(DurationSecondArray::from(vec![1, -(1 << 31)])), Integers(Four)),
        (Arc::new(Float64Array::from(vec![0.0, 1.0])), AsIs),
        (Arc::new(StringViewArray::from_iter_values(["a", "bc"])), Offsets),
        (Arc::new(StringViewArray::from_iter_values(["de", "bc"])), FixedLength(2)),
        (Arc::new(StringArray::from_iter_values(["a", "bc"])), AsIs),
    ];
    let expected: Vec<_> = columns.iter().map(|(_, narrowing)| *narrowing).collect();
    assert_eq!(ways(&batch(columns.into_iter().map(|(column, _)| column))), expected);
}

/// Whoever reads what another build wrote would have to know it.
#[test]
fn a_payload_begins_with_how_its_leaves_travel() {
    let batch = batch([
        Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef,
        Arc::new(StringViewArray::from_iter_values(["ab", "cd"])),
    ]);
    let payload = encode(&batch, Codec::None).expect("encodes");
    assert_eq!(payload[..4], [0, 0, 2, 0], "no codec, and two leaves");
    assert_eq!(payload[HEADER_BYTES..][..16], [1, 0, 2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn lists_structs_and_what_is_in_them_come_back_from_any_slice_and_in_pieces() {
    let rows = 40;
    let lengths = || (0..rows).map(|row| row % 4);
    let values: usize = lengths().sum();
    let names =
        StringViewArray::from_iter((0..values).map(|at| (at % 5 != 0).then(|| format!("the name of {at}"))));
    let fields = Fields::from(vec![
        Field::new("key", DataType::Int64, false),
        Field::new("name", DataType::Utf8View, true),
    ]);
    let keys = Int64Array::from_iter_values(0..values as i64);
    let structs = StructArray::new(fields.clone(), vec![Arc::new(keys), Arc::new(names)], None);
    let structs: ArrayRef = Arc::new(structs);
    let of_structs = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
    let nulls = NullBuffer::from_iter((0..rows).map(|row| row % 7 != 0));
    let small = ListArray::new(
        of_structs.clone(),
        OffsetBuffer::from_lengths(lengths()),
        structs.clone(),
        Some(nulls),
    );
    let large = LargeListArray::new(of_structs, OffsetBuffer::from_lengths(lengths()), structs, None);
    let pairs = FixedSizeListArray::new(
        Arc::new(Field::new_list_field(DataType::Utf8View, true)),
        2,
        Arc::new(StringViewArray::from_iter_values((0..2 * rows).map(|at| format!("one of a pair, {at}")))),
        None,
    );
    let batch = batch([Arc::new(small) as ArrayRef, Arc::new(large), Arc::new(pairs)]);
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        for cut in 0..=rows {
            let pieces = [batch.slice(0, cut), batch.slice(cut, rows - cut)];
            let payload =
                Encoder::new(codec).and_then(|mut encoder| encoder.encode(&pieces)).expect("encodes");
            assert_eq!(
                Decoder::new(batch.schema()).decode(payload).expect("decodes"),
                std::slice::from_ref(&batch)
            );
            assert_eq!(travelled(&pieces[1]).0, pieces[1]);
        }
    }
    assert!(ways(&batch).iter().filter(|way| **way != Narrowing::AsIs).count() >= 4);
}

#[test]
fn what_the_schema_says_of_columns_stays_although_batches_differ_in_it() {
    let schema = |nullable| {
        let field = Field::new("n", DataType::Int64, nullable);
        let field = field.with_metadata([("unit".to_owned(), "row".to_owned())].into());
        Arc::new(Schema::new_with_metadata(vec![field], [("table".to_owned(), "t".to_owned())].into()))
    };
    let mut encoder = Encoder::new(Codec::None).expect("there is such a codec");
    for (nullable, value) in [(false, Some(1)), (true, None), (false, Some(2))] {
        let column = Arc::new(Int64Array::from(vec![value]));
        let batch = RecordBatch::try_new(schema(nullable), vec![column]).expect("one column");
        let payload = encoder.encode(std::slice::from_ref(&batch)).expect("encodes");
        assert_eq!(Decoder::new(schema(nullable)).decode(payload).expect("decodes"), [batch]);
    }
    let nothing = Arc::new(Schema::empty());
    let rows = |rows| {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(nothing.clone(), vec![], &options).expect("no column")
    };
    let payload = encoder.encode(&[rows(3), rows(0), rows(4)]).expect("encodes");
    assert_eq!(Decoder::new(nothing.clone()).decode(payload).expect("decodes"), [rows(7)]);
}

#[test]
fn rows_of_keys_prices_dates_and_flags_take_a_quarter_of_their_bytes() {
    let rows = 8_000_i64;
    let numbers = 0..rows;
    let flags = numbers.clone().map(|row| Some(["A", "N", "R"][row as usize % 3]));
    let batch = batch([
        Arc::new(Int64Array::from_iter_values(numbers.clone().map(|row| row * 7_500))) as ArrayRef,
        decimals(numbers.clone().map(|row| Some(i128::from(row * 1_311))).collect()),
        Arc::new(Date32Array::from_iter_values(numbers.clone().map(|row| 8_035 + (row % 2_500) as i32))),
        Arc::new(flags.collect::<StringViewArray>()),
    ]);
    let (came, bytes) = travelled(&batch);
    assert_eq!(came, batch);
    let row_bytes = 4 + 4 + 2 + 1;
    assert!(bytes < rows as usize * row_bytes + 2_048, "{bytes}");
}

#[test]
fn every_type_comes_back_with_its_nulls_and_extremes() {
    let strings = [Some("a"), None, Some(""), Some("twelve bytes"), Some("thirteen byte"), Some("ünïcödé")];
    let shorts = [Some("AIR"), None, Some("SHIP"), Some(""), Some("TRUCK"), Some("RAIL")];
    let equal = ["Brand#11", "Brand#12", "Brand#13", "Brand#14", "Brand#15", "Brand#16"];
    let lists = [Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(70_000)]), Some(vec![]), None];
    let timestamps =
        TimestampMicrosecondArray::from(vec![Some(0), None, Some(i64::MIN), Some(i64::MAX), Some(1), None]);
    let fields = vec![Field::new("key", DataType::Int64, true), Field::new("name", DataType::Utf8View, true)];
    let structs = StructArray::new(
        fields.into(),
        vec![
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4), Some(5), Some(6)])),
            Arc::new(StringViewArray::from_iter(strings)),
        ],
        Some(vec![true, true, false, true, true, false].into()),
    );
    let batch = batch([
        Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(0), Some(1), Some(2), Some(3)]))
            as ArrayRef,
        Arc::new(Int16Array::from(vec![Some(-5), None, Some(0), Some(1), Some(2), Some(3)])),
        Arc::new(Int32Array::from(vec![Some(i32::MAX), None, Some(0), Some(1), Some(2), Some(3)])),
        Arc::new(UInt16Array::from(vec![Some(255), None, Some(0), Some(1), Some(2), Some(3)])),
        Arc::new(UInt32Array::from(vec![Some(256), None, Some(0), Some(1), Some(2), Some(3)])),
        Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0), Some(1), Some(2), Some(3)])),
        Arc::new(UInt64Array::from(vec![
            Some(u64::from(u32::MAX)),
            None,
            Some(0),
            Some(1),
            Some(2),
            Some(3),
        ])),
        Arc::new(Decimal32Array::from(vec![Some(1), None, Some(-1), Some(1), Some(2), Some(3)])),
        decimals(vec![Some(i128::MAX >> 2), None, Some(0), Some(-1), Some(2), Some(3)]),
        decimals(vec![Some(i128::from(i64::MIN)), None, Some(0), Some(-1), Some(2), Some(3)]),
        Arc::new(timestamps.with_timezone("Europe/Berlin")),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true), None, None])),
        Arc::new(Float64Array::from(vec![
            Some(f64::NEG_INFINITY),
            None,
            Some(0.5),
            Some(1.0),
            Some(2.0),
            None,
        ])),
        Arc::new(StringViewArray::from_iter(strings)),
        Arc::new(StringViewArray::from_iter(shorts)),
        Arc::new(StringViewArray::from_iter_values(equal)),
        Arc::new(StringArray::from_iter(strings)),
        Arc::new(StringArray::from_iter_values(equal)),
        Arc::new(BinaryViewArray::from_iter(strings)),
        Arc::new(BinaryArray::from_iter_values(equal)),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        Arc::new(structs),
        Arc::new(strings.into_iter().collect::<DictionaryArray<Int8Type>>()),
    ]);
    for from in 0..=batch.num_rows() {
        for rows in 0..=batch.num_rows() - from {
            let slice = batch.slice(from, rows);
            assert_eq!(travelled(&slice).0, slice, "rows {from} to {}", from + rows);
        }
        // In pieces, one of them empty, all travel as one batch.
        let pieces = [batch.slice(0, from), batch.slice(from, 0), batch.slice(from, batch.num_rows() - from)];
        let payload =
            Encoder::new(Codec::None).and_then(|mut encoder| encoder.encode(&pieces)).expect("encodes");
        assert_eq!(
            payload,
            encode(&batch, Codec::None).expect("encodes"),
            "in pieces of {from} rows and the rest"
        );
    }
}

#[test]
fn short_text_does_not_keep_its_payload_in_memory() {
    let modes = ["AIR", "TRUCK", "SHIP"].into_iter().cycle().take(1_000);
    let (came, _) = travelled(&batch([Arc::new(StringViewArray::from_iter_values(modes)) as ArrayRef]));
    assert!(came.column(0).as_string_view().data_buffers().is_empty());
}

#[test]
fn text_that_is_no_text_is_damaged() {
    let batch = batch([Arc::new(StringViewArray::from_iter_values(["ab", "cd"])) as ArrayRef]);
    let payload = encode(&batch, Codec::None).expect("encodes");
    let at = payload.windows(4).position(|bytes| bytes == b"abcd").expect("text lies there as it is");
    // The second row would begin in the middle of a letter; then no letter at all.
    for bytes in [[b'a', 0xc3, 0xa4, b'd'], [b'a', b'b', 0xff, b'd']] {
        let mut damaged = payload.to_vec();
        damaged[at..at + 4].copy_from_slice(&bytes);
        assert!(Decoder::new(batch.schema()).decode(damaged.into()).is_err(), "{bytes:?}");
    }
}

#[test]
fn ways_that_a_column_cannot_travel_are_damage() {
    let batch = batch([
        Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef,
        Arc::new(Float64Array::from(vec![1.0, 2.0])) as ArrayRef,
    ]);
    let payload = encode(&batch, Codec::None).expect("encodes");
    let with = |leaf: usize, code: u16| {
        let mut damaged = payload.to_vec();
        damaged[HEADER_BYTES + 2 * leaf..][..2].copy_from_slice(&code.to_le_bytes());
        Decoder::new(batch.schema()).decode(Bytes::from(damaged))
    };
    assert_eq!(with(0, 1).expect("decodes"), std::slice::from_ref(&batch));
    for (leaf, code) in [(0, 3), (0, 8), (0, 0x100), (0, 0x8001), (1, 1), (1, 4), (1, 0x7fff)] {
        let damaged = with(leaf, code);
        assert!(
            matches!(damaged, Err(BatchIoError::Damaged { .. })),
            "leaf {leaf}, code {code}: {damaged:?}"
        );
    }
    let fewer = RecordBatch::try_new(
        Arc::new(batch.schema().project(&[0]).expect("has a column")),
        vec![Arc::clone(batch.column(0))],
    )
    .expect("one column of one length");
    assert!(matches!(
        Decoder::new(fewer.schema()).decode(payload.clone()),
        Err(BatchIoError::Damaged { .. })
    ));
}

proptest! {
    #[test]
    fn any_integers_and_text_come_back(
        integers in prop::collection::vec(prop::option::of(any::<i128>()), 0..50),
        shift in 0_u32..127,
        text in prop::collection::vec(prop::option::of(".{0,15}"), 0..50),
    ) {
        let rows = integers.len().min(text.len());
        let narrow = |value: &Option<i128>| value.map(|value| (value >> shift) % 10_i128.pow(38));
        let integers: Vec<_> = integers[..rows].iter().map(narrow).collect();
        let batch = batch([
            decimals(integers.clone()),
            Arc::new(integers.iter().map(|value| value.map(|value| value as i64)).collect::<Int64Array>()),
            Arc::new(integers.iter().map(|value| value.map(|value| value as u64)).collect::<UInt64Array>()),
            Arc::new(text[..rows].iter().cloned().collect::<StringViewArray>()),
            Arc::new(text[..rows].iter().cloned().collect::<StringArray>()),
        ]);
        prop_assert_eq!(travelled(&batch).0, batch);
    }
}
