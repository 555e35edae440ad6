//! Formats and files of results.

use std::{fs::File, io::Cursor};

use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::World;

const ROWS: &str = "select value as a, case when value > 2 then null else 'x' end as b from generate_series(1, 3) order by a";

#[test]
fn json_has_one_object_per_line_with_nulls() {
    let world = World::new();
    let out = world.ok(&["run", "-e", ROWS, "--format", "json"]);
    assert_eq!(out, "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"x\"}\n{\"a\":3,\"b\":null}\n");
}

#[test]
fn a_table_is_drawn_for_people() {
    let world = World::new();
    let out = world.ok(&["run", "-e", ROWS, "--format", "table"]);
    assert!(out.contains("| a | b |") && out.contains("| 3 |   |"), "{out}");
}

#[test]
fn an_empty_result_still_has_its_columns() {
    let world = World::new();
    let query = "select 1 as a, 'x' as b where false";
    assert_eq!(world.ok(&["run", "-e", query]), "a,b\n");
    let path = world.work().join("empty.parquet");
    world.ok(&["run", "-e", query, "--output", "empty.parquet"]);
    let file =
        ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("opens")).expect("is parquet");
    assert_eq!(file.schema().fields().len(), 2);
}

#[test]
fn the_ending_of_the_file_chooses_the_format() {
    let world = World::new();
    world.ok(&["run", "-e", ROWS, "--output", "a.parquet"]);
    let file = File::open(world.work().join("a.parquet")).expect("opens");
    let rows: usize = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|file| file.build())
        .expect("is parquet")
        .map(|batch| batch.expect("reads").num_rows())
        .sum();
    assert_eq!(rows, 3);
    world.ok(&["run", "-e", ROWS, "--output", "a.arrow"]);
    let bytes = std::fs::read(world.work().join("a.arrow")).expect("reads");
    let rows: usize = StreamReader::try_new(Cursor::new(bytes), None)
        .expect("is arrow")
        .map(|batch| batch.expect("reads").num_rows())
        .sum();
    assert_eq!(rows, 3);
    world.assert_nothing_left();
}

#[test]
fn a_failed_query_leaves_no_output_file() {
    let world = World::new();
    let ran =
        world.penstock(&["run", "-e", "select 1 / (value - 2) from generate_series(1, 3)", "-o", "a.csv"]);
    assert_eq!(ran.exit, 4, "{ran:?}");
    assert!(!world.work().join("a.csv").exists());
    world.assert_nothing_left();
}

#[test]
fn nested_values_are_text_in_csv() {
    let world = World::new();
    let out = world.ok(&["run", "-e", "select [1, 2] as l, named_struct('x', 1) as s", "--format", "csv"]);
    assert_eq!(out, "l,s\n\"[1, 2]\",{x: 1}\n");
}

#[test]
fn a_million_rows_as_a_table_show_the_first_ones_and_how_to_get_all() {
    let world = World::new();
    let query = "select value from generate_series(1, 1000000)";
    let ran = world.penstock(&["run", "-e", query, "--format", "table"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.stdout.lines().count() < 120, "{} lines", ran.stdout.lines().count());
    assert!(ran.stderr.contains("the first 100 of 1,000,000 rows"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--output PATH"), "{}", ran.stderr);
    let all = world.ok(&["run", "-e", query, "--format", "csv"]);
    assert_eq!(all.lines().count(), 1_000_001);
}
