//! What is decoded is what was encoded, for every node of ours.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::{
    physical_plan::{ExecutionPlan, displayable, empty::EmptyExec},
    prelude::SessionContext,
};

use super::{encode_plan, parse_plan};
use crate::{
    catalog::FileFormat,
    fragment::{RootOutput, cut},
    session::{runtime_env, session},
    settings::Settings,
    sink::{WriteExec, WriteSpec},
};

fn context() -> SessionContext {
    let settings = Settings::new([("penstock.partitions".to_owned(), "3".to_owned())]).expect("are settings");
    let env = runtime_env(None, None, 1 << 20).expect("has no limits");
    session(&settings, &env).expect("are valid settings")
}

fn text(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(true).to_string()
}

fn check_plan(plan: &Arc<dyn ExecutionPlan>, context: &SessionContext) -> Arc<dyn ExecutionPlan> {
    let bytes = encode_plan(plan).expect("has an encoding");
    let decoded = parse_plan(&bytes).expect("parses").instantiate(&context.task_ctx()).expect("decodes");
    assert_eq!(text(plan), text(&decoded));
    decoded
}

async fn check(sql: &str) {
    let context = context();
    let plan = context.sql(sql).await.expect("is SQL").create_physical_plan().await.expect("has a plan");
    let graph = cut(plan, RootOutput::Result).expect("can be cut");
    for stage in &graph.stages {
        let decoded = check_plan(&stage.plan, &context);
        assert_eq!(stage.plan.schema(), decoded.schema(), "{sql}");
        assert_eq!(
            stage.plan.properties().output_ordering(),
            decoded.properties().output_ordering(),
            "{sql}\n{}",
            text(&decoded)
        );
    }
}

#[tokio::test]
async fn exchanges_come_back_with_their_order_and_partitions() {
    check("select x, count(*) from (values (1, 'a'), (2, 'b')) v(x, y) group by x order by x limit 3").await;
    check("select * from generate_series(1, 9) a join generate_series(3, 5) b on a.value = b.value").await;
    check("select value from generate_series(1, 9) union all select 1 order by 1").await;
}

#[tokio::test]
async fn series_come_back_sorted() {
    check("select value from generate_series(1, 9)").await;
}

#[tokio::test]
async fn recursive_queries_come_back_with_their_work_table() {
    let context = context();
    let sql = "with recursive n as (select 1 x, 'a' y union all select x + 1, y from n where x < 5) select x from n";
    let plan = context.sql(sql).await.expect("is SQL").create_physical_plan().await.expect("has a plan");
    let graph = cut(plan, RootOutput::Result).expect("can be cut");
    let decoded = parse_plan(&graph.root().encoded).expect("parses").instantiate(&context.task_ctx());
    let decoded = decoded.expect("decodes");
    // DataFusion may put one more projection above the first term: casts lose the nullability of their target.
    assert!(text(&decoded).contains("WorkTableExec: name=n"), "{}", text(&decoded));
    assert_eq!(decoded.schema(), graph.root().schema);
}

#[test]
fn a_sink_comes_back_with_what_it_writes() {
    let schema = Arc::new(Schema::new(vec![Field::new("day", DataType::Utf8, true)]));
    let spec = WriteSpec {
        format: FileFormat::Parquet,
        options: [("format.compression".to_owned(), "zstd(3)".to_owned())].into(),
        partition_columns: vec!["day".to_owned()],
        keep_partition_columns: true,
        file_prefix: "part".to_owned(),
        single_file: None,
    };
    let plan: Arc<dyn ExecutionPlan> =
        Arc::new(WriteExec::new(Arc::new(EmptyExec::new(schema)), spec.clone()));
    let decoded = check_plan(&plan, &context());
    assert_eq!(decoded.downcast_ref::<WriteExec>().expect("is a sink").spec(), &spec);
}

#[test]
fn bytes_of_another_build_are_an_error() {
    assert!(parse_plan(b"no plan at all").is_err());
    let empty = parse_plan(b"").expect("an empty message parses");
    assert!(empty.instantiate(&context().task_ctx()).is_err());
}
