//! One DataFusion process as the judge: the same query on the same files.

use std::path::Path;

use arrow::{
    array::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The rows that DataFusion gives for `sql` over the Parquet files of `folder`, each a table of its name.
pub fn rows(folder: &Path, sql: &str, partitions: usize) -> Vec<Vec<String>> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let batches = runtime.block_on(async {
        let context =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let path = path.to_string_lossy().into_owned();
            context.register_parquet(name, path, ParquetReadOptions::default()).await.expect("registers");
        }
        context.sql(sql).await.expect("plans").collect().await.expect("runs")
    });
    shown(&batches)
}

pub fn parquet_rows(path: &Path) -> Vec<Vec<String>> {
    let file = std::fs::File::open(path).expect("opens");
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(file).and_then(|file| file.build()).expect("is parquet");
    shown(&reader.map(|batch| batch.expect("reads")).collect::<Vec<_>>())
}

fn shown(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).expect("can be shown"))
            .collect();
        rows.extend(
            (0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect()),
        );
    }
    rows
}

/// Equal up to the order of rows and the rounding of floating point sums.
pub fn assert_equal(what: &str, mut found: Vec<Vec<String>>, mut expected: Vec<Vec<String>>) {
    assert_eq!(found.len(), expected.len(), "{what}: number of rows");
    found.sort();
    expected.sort();
    for (found, expected) in found.iter().zip(&expected) {
        let equal =
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| cells_equal(a, b));
        assert!(equal, "{what}: {found:?} instead of {expected:?}");
    }
}

fn cells_equal(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => false,
    }
}
