//! What is not read: struct leaves and filters survive the encoding, so that stages read what one process reads.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field},
};
use datafusion::physical_plan::{ExecutionPlan, collect};
use tempfile::TempDir;

use crate::support::{Cluster, PARTITIONS, register, write_parquet};

/// `m` has a struct with a small id, a nested country and a large text.
fn write_nested() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let field = |name: &str, data_type: DataType| Arc::new(Field::new(name, data_type, true));
    let noise = |n: i64| format!("{:x}", (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)).repeat(8);
    let batch = |from: i64| {
        let numbers = from..from + 10_000;
        let geo = StructArray::from(vec![
            (
                field("country", DataType::Utf8),
                Arc::new(StringArray::from_iter_values(numbers.clone().map(|n| format!("c{}", n % 20))))
                    as ArrayRef,
            ),
            (
                field("street", DataType::Utf8),
                Arc::new(StringArray::from_iter_values(numbers.clone().map(noise))) as ArrayRef,
            ),
        ]);
        let member = StructArray::from(vec![
            (
                field("id", DataType::Int64),
                Arc::new(Int64Array::from_iter_values(numbers.clone())) as ArrayRef,
            ),
            (field("geo", geo.data_type().clone()), Arc::new(geo) as ArrayRef),
            (
                field("note", DataType::Utf8),
                Arc::new(StringArray::from_iter_values(numbers.clone().map(noise))) as ArrayRef,
            ),
        ]);
        let id = Int64Array::from_iter_values(numbers);
        RecordBatch::try_from_iter([
            ("id", Arc::new(id) as ArrayRef),
            ("member", Arc::new(member) as ArrayRef),
        ])
        .unwrap()
    };
    write_parquet(&folder.path().join("m.parquet"), [batch(0), batch(10_000)]);
    folder
}

fn scanned(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
    let own = own.map_or(0, |bytes| bytes.as_usize() as u64);
    own + plan.children().into_iter().map(scanned).sum::<u64>()
}

/// Bytes that one process and stages read for the same plan.
async fn bytes_read(folder: &TempDir, sql: &str, partitions: usize, settings: &[(&str, &str)]) -> (u64, u64) {
    let fresh = || async {
        let cluster = Cluster::with(partitions, settings);
        register(&cluster.context, "m", &folder.path().join("m.parquet")).await;
        cluster
    };
    let one = fresh().await;
    let plan = one.plan(sql).await;
    collect(plan.clone(), one.context.task_ctx()).await.unwrap();
    let stages = fresh().await;
    let outcome = stages.check(sql).await;
    (scanned(&plan), outcome.metrics.iter().flatten().map(|task| task.scanned_bytes).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_read_the_bytes_that_one_process_reads() {
    let folder = write_nested();
    let whole = bytes_read(&folder, "select member from m", 1, &[]).await.0;
    for (sql, most) in [
        ("select member['geo']['country'] c, count(*) from m group by c", whole / 10),
        ("select sum(member['id']) from m", whole / 10),
        ("select a.member['id'], b.member['geo']['country'] from m a join m b on a.id = b.id", whole / 5),
        ("select member['id'] from m where member['geo']['country'] = 'c3'", whole / 10),
        ("select member['note'] from m where id = 77", whole),
        ("select id from m where id between 5000 and 5100", whole / 10),
    ] {
        for partitions in PARTITIONS {
            for filters in ["false", "true"] {
                let settings = [
                    ("datafusion.execution.parquet.pushdown_filters", filters),
                    ("penstock.broadcast.bytes_max", "0"),
                ];
                let (one, stages) = bytes_read(&folder, sql, partitions, &settings).await;
                assert_eq!(one, stages, "{sql} at {partitions} partitions, filters pushed down: {filters}");
                assert!(one <= most, "{sql} reads {one} bytes of {whole}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_filter_still_skips_row_groups_and_rows_after_decoding() {
    let folder = write_nested();
    let settings = [("datafusion.execution.parquet.pushdown_filters", "true")];
    let cluster = Cluster::with(2, &settings);
    register(&cluster.context, "m", &folder.path().join("m.parquet")).await;
    let outcome = cluster.check("select member['note'] from m where id = 77").await;
    let counter = |name: &str| -> u64 {
        let operators = outcome.metrics.iter().flatten().flat_map(|task| &task.operators);
        operators.filter_map(|operator| operator.counters.get(name)).sum()
    };
    assert!(
        counter("pushdown_rows_pruned") + counter("page_index_rows_pruned") > 0
            || counter("row_groups_pruned_statistics") > 0
    );
    let rows: u64 = outcome.metrics.iter().flatten().map(|task| task.rows_in).sum();
    assert_eq!(rows, 1);
}
