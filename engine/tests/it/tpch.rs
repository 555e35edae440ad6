//! The 22 TPC-H queries give the oracle's answers at every number of partitions.

use std::path::Path;

use crate::support::{Cluster, PARTITIONS, TPCH_TABLES, register, tpch};

pub fn query(number: usize) -> String {
    let folder = Path::new("../examples/tpch/queries");
    std::fs::read_to_string(folder.join(format!("q{number:02}.sql")))
        .unwrap()
        .trim()
        .trim_end_matches(';')
        .to_owned()
}

pub async fn cluster(partitions: usize, settings: &[(&str, &str)]) -> Cluster {
    let cluster = Cluster::with(partitions, settings);
    for table in TPCH_TABLES {
        register(&cluster.context, table, &tpch().join(format!("{table}.parquet"))).await;
    }
    cluster
}

async fn check_all(settings: &[(&str, &str)]) {
    for partitions in PARTITIONS {
        let cluster = cluster(partitions, settings).await;
        for number in 1..=22 {
            cluster.check(&query(number)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_queries_equal_one_process() {
    check_all(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_queries_equal_one_process_when_every_join_is_partitioned() {
    check_all(&[("penstock.broadcast.bytes_max", "0"), ("penstock.shuffle.codec", "none")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_queries_equal_one_process_with_merge_joins_and_filters_in_the_scans() {
    check_all(&[
        ("datafusion.optimizer.prefer_hash_join", "false"),
        ("datafusion.execution.parquet.pushdown_filters", "true"),
        ("penstock.shuffle.codec", "zstd"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_queries_equal_one_process_in_small_batches() {
    check_all(&[("datafusion.execution.batch_size", "100"), ("penstock.broadcast.bytes_max", "100GiB")])
        .await;
}
