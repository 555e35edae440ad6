//! Where plans are cut, as text.

use expect_test::{Expect, expect};
use penstock_engine::{
    fragment::{CutError, RootOutput, cut},
    stage_graph::{InvalidGraph, ReadMode, StageGraph, StageOutput},
};

use crate::{
    support::{Cluster, describe},
    tpch,
};

async fn check(sql: &str, expected: Expect) {
    let cluster = tpch::cluster(3, &[]).await;
    expected.assert_eq(&without_paths(&describe(&cluster.graph(sql).await)));
}

/// The files' folder differs from machine to machine.
fn without_paths(text: &str) -> String {
    text.replace(&crate::support::tpch().to_string_lossy().trim_start_matches('/').to_string(), "tpch")
}

#[tokio::test]
async fn an_aggregation_is_cut_at_its_hash_exchange() {
    check("select o_orderpriority, count(*) from orders group by 1", expect![[r#"
        stage 0 Aggregate(o_orderpriority): tasks=3 output=hash(o_orderpriority) partitions=3 inputs=[]
          ExchangeWriteExec: hash(o_orderpriority@0), partitions=3
            AggregateExec: mode=Partial, gby=[o_orderpriority@0 as o_orderpriority], aggr=[count(Int64(1))]
              DataSourceExec: file_groups=3, projection=[o_orderpriority], file_type=parquet
        stage 1 Aggregate(o_orderpriority): tasks=3 output=result partitions=3 inputs=[0 partitioned 0..3]
          ExchangeWriteExec: by task
            ProjectionExec: expr=[o_orderpriority@0 as o_orderpriority, count(Int64(1))@1 as count(*)]
              AggregateExec: mode=FinalPartitioned, gby=[o_orderpriority@0 as o_orderpriority], aggr=[count(Int64(1))]
                ExchangeReadExec: input=0, partitions=3, mode=partitioned
    "#]]).await;
}

#[tokio::test]
async fn an_ordered_result_is_merged_by_one_task_that_reads_each_task_apart() {
    check("select o_orderkey from orders order by o_totalprice desc limit 3", expect![[r#"
        stage 0 TopK: tasks=3 output=gather partitions=3 inputs=[]
          ExchangeWriteExec: by task
            SortExec: TopK(fetch=3), expr=[o_totalprice@1 DESC], preserve_partitioning=[true]
              DataSourceExec: file_groups=3, projection=[o_orderkey, o_totalprice], file_type=parquet, sort_order_for_reorder=[o_totalprice@1 DESC], reverse_row_groups=true
        stage 1 TopK: tasks=1 output=result partitions=1 inputs=[0 gather 0..1]
          ExchangeWriteExec: by task
            ProjectionExec: expr=[o_orderkey@0 as o_orderkey]
              SortPreservingMergeExec: [o_totalprice@1 DESC], fetch=3
                ExchangeReadExec: input=0, partitions=3, mode=all
    "#]]).await;
}

#[tokio::test]
async fn a_small_build_side_is_broadcast() {
    check("select count(*) from orders join customer on o_custkey = c_custkey where c_nationkey = 3", expect![[r#"
        stage 0 Scan customer: tasks=3 output=gather partitions=1 inputs=[]
          ExchangeWriteExec: gather
            FilterExec: c_nationkey@1 = 3, projection=[c_custkey@0]
              DataSourceExec: file_groups=3, projection=[c_custkey, c_nationkey], file_type=parquet, predicate=c_nationkey@3 = 3, pruning_predicate=c_nationkey_null_count@2 != row_count@3 AND c_nationkey_min@0 <= 3 AND 3 <= c_nationkey_max@1, required_guarantees=[c_nationkey in (3)]
        stage 1 Aggregate: tasks=3 output=gather partitions=1 inputs=[0 broadcast 0..3]
          ExchangeWriteExec: gather
            AggregateExec: mode=Partial, gby=[], aggr=[count(Int64(1))]
              HashJoinExec: mode=CollectLeft, join_type=Inner, on=[(c_custkey@0, o_custkey@0)], projection=[]
                ExchangeReadExec: input=0, partitions=1, mode=all
                DataSourceExec: file_groups=3, projection=[o_custkey], file_type=parquet
        stage 2 Aggregate: tasks=1 output=result partitions=1 inputs=[1 gather 0..1]
          ExchangeWriteExec: by task
            ProjectionExec: expr=[count(Int64(1))@0 as count(*)]
              AggregateExec: mode=Final, gby=[], aggr=[count(Int64(1))]
                CoalescePartitionsExec
                  ExchangeReadExec: input=0, partitions=1, mode=all
    "#]]).await;
}

#[tokio::test]
async fn each_branch_of_a_union_has_tasks_of_its_own() {
    check(
        "select o_custkey from orders union all select c_custkey from customer union all select 1",
        expect![[r#"
        stage 0 Union: tasks=5 output=result partitions=5 inputs=[]
          ExchangeWriteExec: by task
            UnionExec
              DataSourceExec: file_groups=3, projection=[o_custkey], file_type=parquet
              DataSourceExec: file_groups=1, projection=[c_custkey@0 as o_custkey], file_type=parquet
              ProjectionExec: expr=[1 as o_custkey]
                PlaceholderRowExec
    "#]],
    )
    .await;
}

#[tokio::test]
async fn a_plan_that_is_nested_too_deep_is_refused() {
    let cluster = Cluster::new(1);
    let mut plan = cluster.plan("select 1").await;
    for _ in 0..600 {
        plan = std::sync::Arc::new(datafusion::physical_plan::limit::LocalLimitExec::new(plan, 1));
    }
    let error = cut(plan, RootOutput::Result).unwrap_err();
    assert!(matches!(error, CutError::TooDeep { limit: 500, .. }), "{error}");
}

#[test]
fn an_endless_input_is_refused_by_name() {
    use datafusion::physical_plan::streaming::StreamingTableExec;
    let schema = std::sync::Arc::new(arrow::datatypes::Schema::empty());
    let endless = StreamingTableExec::try_new(schema, vec![], None, vec![], true, None).unwrap();
    let error = cut(std::sync::Arc::new(endless) as _, RootOutput::Result).unwrap_err();
    assert!(error.to_string().starts_with("StreamingTableExec cannot run"), "{error}");
}

#[tokio::test]
async fn a_graph_that_does_not_fit_together_is_refused() {
    let cluster = tpch::cluster(3, &[]).await;
    let graph = cluster.graph("select o_orderpriority, count(*) from orders group by 1").await;
    assert_eq!(graph.stages.last().unwrap().output, StageOutput::Result);
    let spoilt = |spoil: &dyn Fn(&mut Vec<penstock_engine::stage_graph::Stage>)| {
        let mut stages = graph.stages.clone();
        spoil(&mut stages);
        StageGraph::new(stages).unwrap_err()
    };
    assert_eq!(spoilt(&|stages| stages.clear()), InvalidGraph::Empty);
    assert_eq!(spoilt(&|stages| stages[1].tasks = 0), InvalidGraph::NoTasks { stage: 1 });
    assert_eq!(spoilt(&|stages| stages.reverse()), InvalidGraph::NotTopological { stage: 0, input: 0 });
    assert!(matches!(
        spoilt(&|s| s[0].output_partitions = 9),
        InvalidGraph::PartitionsDiffer { written: 9, .. }
    ));
    assert!(matches!(spoilt(&|s| s[1].inputs[0].owners = 0..9), InvalidGraph::OwnersOutOfRange { .. }));
    assert!(matches!(
        spoilt(&|s| s[1].inputs[0].owners = 0..1),
        InvalidGraph::PartsDiffer { owners: 1, parts: 3, .. }
    ));
    assert!(matches!(spoilt(&|s| s[1].inputs.clear()), InvalidGraph::Unread { stage: 0 }));
}

#[tokio::test]
async fn tasks_get_their_own_files_and_partitions_and_nothing_else() {
    let cluster = tpch::cluster(3, &[]).await;
    let graph = cluster
        .graph(
            "select o_custkey k, count(*) from orders group by 1 union all select l_suppkey, 1 from lineitem",
        )
        .await;
    let root = graph.root();
    assert_eq!(root.tasks, 6);
    for task in 0..6 {
        assert_eq!(root.inputs.len(), 1);
        let reads = root.reads(0, task);
        let files: Vec<usize> = root.task_scans(task).iter().map(Vec::len).collect();
        if task < 3 {
            assert_eq!((reads, files), (task..task + 1, vec![0]));
        } else {
            assert_eq!(reads, 0..0);
            assert!(files[0] > 0);
        }
    }
    assert_eq!(root.inputs[0].mode, ReadMode::Partitioned);
    // A stage is encoded once, whatever the number of its files.
    assert!(root.encode().unwrap().len() < 16 << 10);
}
