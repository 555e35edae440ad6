//! Tables with what makes queries interesting: NULLs, duplicates, skew, empty files, nested and odd types.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array,
        ListBuilder, RecordBatch, StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Int32Type},
};

use crate::support::write_parquet;

/// Rows of `t`, over `FILES` files.
const ROWS: i64 = 400;
const FILES: i64 = 5;

/// Statements that make the tables known; locations are relative to the folder that `write` filled.
pub const STATEMENTS: [&str; 5] = [
    "create external table t stored as parquet location 't/'",
    "create external table u stored as parquet location 'u/'",
    "create external table one stored as parquet location 'one.parquet'",
    "create external table nothing stored as parquet location 'nothing/'",
    "create external table nested stored as parquet location 'nested/'",
];

pub fn write(folder: &Path) {
    for table in ["t", "u", "nothing", "nested"] {
        std::fs::create_dir(folder.join(table)).unwrap();
    }
    for file in 0..FILES {
        let ids: Vec<i64> = (0..ROWS).filter(|id| id % FILES == file).collect();
        write_parquet(&folder.join(format!("t/{file}.parquet")), [t(&ids)]);
        write_parquet(&folder.join(format!("nested/{file}.parquet")), [nested(&ids[..20])]);
    }
    for file in 0..3 {
        let ids: Vec<i64> = (0..90).filter(|id| id % 3 == file).collect();
        write_parquet(&folder.join(format!("u/{file}.parquet")), [u(&ids)]);
        write_parquet(&folder.join(format!("nothing/{file}.parquet")), [u(&[])]);
    }
    write_parquet(&folder.join("one.parquet"), [u(&[7])]);
}

/// id, k (NULL for every 7th, else one of 10, a third of them 3), s, v, d, dec, ts, dict
fn t(ids: &[i64]) -> RecordBatch {
    let key = |id: i64| match id {
        _ if id % 7 == 0 => None,
        _ if id % 3 == 0 => Some(3),
        _ => Some((id % 10) as i32),
    };
    let word = |id: i64| ["pear", "apple", "fig", "", "größe"][(id % 5) as usize];
    let words = |ids: &[i64]| ids.iter().map(|id| (id % 11 != 0).then(|| word(*id))).collect::<Vec<_>>();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.to_vec()))),
        ("k", Arc::new(ids.iter().map(|id| key(*id)).collect::<Int32Array>())),
        ("s", Arc::new(StringArray::from(words(ids)))),
        (
            "v",
            Arc::new(ids.iter().map(|id| (id % 13 != 0).then(|| *id as f64 / 8.0)).collect::<Float64Array>()),
        ),
        ("d", Arc::new(ids.iter().map(|id| Some(10_000 + (*id % 50) as i32)).collect::<Date32Array>())),
        ("dec", decimals(ids)),
        (
            "ts",
            Arc::new(ids.iter().map(|id| Some(id * 3_600_000_000)).collect::<TimestampMicrosecondArray>()),
        ),
        ("dict", Arc::new(words(ids).into_iter().collect::<DictionaryArray<Int32Type>>())),
    ];
    with_nulls_allowed(columns)
}

fn decimals(ids: &[i64]) -> ArrayRef {
    let values: Decimal128Array =
        ids.iter().map(|id| (id % 9 != 0).then(|| i128::from(id * 125 - 700))).collect();
    Arc::new(values.with_precision_and_scale(12, 2).unwrap())
}

/// id, k (with NULLs and keys that `t` lacks), name
fn u(ids: &[i64]) -> RecordBatch {
    let names: Vec<Option<String>> =
        ids.iter().map(|id| (id % 4 != 0).then(|| format!("u{}", id % 6))).collect();
    with_nulls_allowed(vec![
        ("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef),
        (
            "k",
            Arc::new(ids.iter().map(|id| (id % 8 != 0).then_some((id % 15) as i32)).collect::<Int32Array>()),
        ),
        ("name", Arc::new(StringArray::from(names))),
    ])
}

/// id, member (struct of name and geo (struct of country and zip)), tags (list of text), items (list of struct)
fn nested(ids: &[i64]) -> RecordBatch {
    let countries: StringArray = ids.iter().map(|id| Some(["de", "fr", "jp"][(id % 3) as usize])).collect();
    let zips: Int32Array = ids.iter().map(|id| (id % 5 != 0).then_some((id % 100) as i32)).collect();
    let geo = StructArray::from(vec![
        (Arc::new(Field::new("country", DataType::Utf8, true)), Arc::new(countries) as ArrayRef),
        (Arc::new(Field::new("zip", DataType::Int32, true)), Arc::new(zips) as ArrayRef),
    ]);
    let names: StringArray = ids.iter().map(|id| Some(format!("m{id}"))).collect();
    let member = StructArray::from(vec![
        (Arc::new(Field::new("name", DataType::Utf8, true)), Arc::new(names) as ArrayRef),
        (Arc::new(Field::new("geo", geo.data_type().clone(), true)), Arc::new(geo) as ArrayRef),
    ]);
    with_nulls_allowed(vec![
        ("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef),
        ("member", Arc::new(member)),
        ("tags", tags(ids)),
        ("items", items(ids)),
    ])
}

fn tags(ids: &[i64]) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for id in ids {
        for tag in 0..id % 4 {
            lists.values().append_value(format!("tag{}", (id + tag) % 5));
        }
        lists.append(id % 9 != 0);
    }
    Arc::new(lists.finish())
}

fn items(ids: &[i64]) -> ArrayRef {
    let counts: Vec<usize> = ids.iter().map(|id| (id % 3) as usize).collect();
    let flat: Vec<i64> =
        ids.iter().zip(&counts).flat_map(|(id, count)| (0..*count as i64).map(move |n| id + n)).collect();
    let prices: Float64Array = flat.iter().map(|n| Some(*n as f64 / 4.0)).collect();
    let structs = StructArray::from(vec![
        (Arc::new(Field::new("item", DataType::Int64, true)), Arc::new(Int64Array::from(flat)) as ArrayRef),
        (Arc::new(Field::new("price", DataType::Float64, true)), Arc::new(prices) as ArrayRef),
    ]);
    let field = Arc::new(Field::new("item", structs.data_type().clone(), true));
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(counts);
    Arc::new(arrow::array::ListArray::new(field, offsets, Arc::new(structs), None))
}

fn with_nulls_allowed(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .unwrap()
}
