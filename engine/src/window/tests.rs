//! Against DataFusion's own operators, and what is held while rows pass.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, make_view},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema, SchemaRef},
    util::pretty::pretty_format_batches,
};
use bytes::Bytes;
use datafusion::{
    catalog::streaming::StreamingTable,
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    datasource::MemTable,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        ExecutionPlan, execute_stream, stream::RecordBatchStreamAdapter, streaming::PartitionStream,
    },
    prelude::{SessionConfig, SessionContext, col},
};
use futures::{StreamExt, TryStreamExt};
use penstock_protocol::task::FailureClass;

use super::bounded;
use crate::{error::classify, session::runtime_env};

fn replaced(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let replaced = plan.transform_up(|node| Ok(Transformed::yes(bounded(node)))).data();
    replaced.expect("nothing fails in it")
}

fn context(batch_rows: usize, memory_bytes: Option<u64>) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(1).with_batch_size(batch_rows);
    SessionContext::new_with_config_rt(config, runtime_env(memory_bytes, None, 1 << 30).expect("has an env"))
}

const BATCHES: i64 = 400;
const BATCH_ROWS: i64 = 64;
const TEXT_BYTES: usize = 1000;

/// Sorted rows whose texts count how many bytes of them are alive.
#[derive(Debug, Clone)]
struct Lines {
    schema: SchemaRef,
    alive: Arc<AtomicUsize>,
}

struct Text(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

impl Lines {
    fn new() -> Self {
        let fields =
            vec![Field::new("n", DataType::Int64, false), Field::new("text", DataType::Utf8View, false)];
        Self { schema: Arc::new(Schema::new(fields)), alive: Arc::default() }
    }

    fn batch(&self, number: i64) -> RecordBatch {
        let bytes = TEXT_BYTES * BATCH_ROWS as usize;
        self.alive.fetch_add(bytes, Ordering::Relaxed);
        let text = vec![b'a' + (number % 26) as u8; bytes];
        let view = |row: i64| make_view(&text[..TEXT_BYTES], 0, row as u32 * TEXT_BYTES as u32);
        let views: Vec<u128> = (0..BATCH_ROWS).map(view).collect();
        let buffer = Buffer::from(Bytes::from_owner(Text(text, self.alive.clone())));
        let texts = StringViewArray::try_new(views.into(), vec![buffer], None).expect("views are right");
        let from = number * BATCH_ROWS;
        let numbers = Int64Array::from_iter_values(from..from + BATCH_ROWS);
        RecordBatch::try_new(self.schema.clone(), vec![Arc::new(numbers), Arc::new(texts)])
            .expect("columns are equally long")
    }
}

impl PartitionStream for Lines {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let lines = self.clone();
        let batches = futures::stream::iter(0..BATCHES).map(move |number| Ok(lines.batch(number)));
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

async fn plan_of_lines(context: &SessionContext, lines: &Lines, sql: &str) -> Arc<dyn ExecutionPlan> {
    let partition: Arc<dyn PartitionStream> = Arc::new(lines.clone());
    let table = StreamingTable::try_new(lines.schema.clone(), vec![partition]).expect("schemas fit");
    let table = table.with_sort_order(vec![col("n").sort(true, false)]);
    context.register_table("lines", Arc::new(table)).expect("has a new name");
    let plan = context.sql(sql).await.expect("is right").create_physical_plan().await;
    replaced(plan.expect("can be planned"))
}

#[tokio::test]
async fn texts_of_rows_that_have_passed_are_free() {
    for window in [
        "row_number() over (order by n)",
        "rank() over (order by n), lag(text) over (order by n), sum(n) over (order by n)",
        "max(text) over (order by n rows between 3 preceding and 2 following)",
    ] {
        let (context, lines) = (context(BATCH_ROWS as usize, None), Lines::new());
        let sql = format!("select n, text, {window} from lines");
        let plan = plan_of_lines(&context, &lines, &sql).await;
        let mut rows = execute_stream(plan, context.task_ctx()).expect("starts");
        let (mut count, mut alive_max) = (0, 0);
        while let Some(batch) = rows.next().await {
            count += batch.expect("runs").num_rows() as i64;
            alive_max = alive_max.max(lines.alive.load(Ordering::Relaxed));
        }
        assert_eq!(count, BATCHES * BATCH_ROWS);
        let allowed = 6 * TEXT_BYTES * BATCH_ROWS as usize;
        assert!(alive_max <= allowed, "{window}: {alive_max} bytes are alive");
    }
}

#[tokio::test]
async fn a_window_that_needs_more_than_there_is_fails_by_the_operators_name() {
    let (context, lines) = (context(BATCH_ROWS as usize, Some(8 << 20)), Lines::new());
    let plan = plan_of_lines(&context, &lines, "select n, text, sum(n) over () as total from lines").await;
    let rows = execute_stream(plan, context.task_ctx()).expect("starts").try_collect::<Vec<_>>().await;
    let failure = classify(&rows.expect_err("25 MiB do not fit into 8"));
    assert_eq!(failure.class, FailureClass::Resources, "{failure:?}");
    assert!(failure.message.contains("WindowAggExec[sum(lines.n)"), "{failure:?}");
    assert!(failure.advice.is_some_and(|advice| advice.contains("memory_bytes")));
}

/// `k` in runs of all lengths, `v` with NULLs and peers, in batches of `batch_rows`.
fn table(batch_rows: usize) -> MemTable {
    let rows: Vec<i64> = (0..900).collect();
    let k = |n: i64| (n % 17 != 0).then_some((n * n) % 7 * (n % 3));
    let v = |n: i64| (n % 5 != 0).then_some(n * 31 % 97);
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(rows.clone())) as ArrayRef, false),
        ("k", Arc::new(rows.iter().map(|n| k(*n)).collect::<Int64Array>()), true),
        ("v", Arc::new(rows.iter().map(|n| v(*n)).collect::<Int64Array>()), true),
        (
            "s",
            Arc::new(
                rows.iter()
                    .map(|n| Some(format!("a text of {} letters", n % 41)))
                    .collect::<StringViewArray>(),
            ),
            true,
        ),
    ])
    .expect("columns are equally long");
    let pieces = (0..900).step_by(batch_rows).map(|at| batch.slice(at, batch_rows.min(900 - at))).collect();
    MemTable::try_new(batch.schema(), vec![pieces]).expect("schemas fit")
}

/// Rows as text, in an order of their own: that of rows with equal sort keys is nobody's promise.
fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).expect("prints").to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn results_are_those_of_the_operators_that_are_replaced() {
    let windows = [
        "row_number() over (), count(*) over ()",
        "row_number() over (order by id), ntile(7) over (order by id)",
        "rank() over (partition by k order by v), dense_rank() over (partition by k order by v)",
        "percent_rank() over (partition by k order by v), cume_dist() over (order by v)",
        "lag(s, 3, 'none') over (partition by k order by id), lead(v, 2) over (partition by k order by id)",
        "first_value(s) over (partition by k order by v, id), last_value(s) over (partition by k order by v, id)",
        "nth_value(s, 3) over (partition by k order by id rows between 2 preceding and 4 following)",
        "sum(v) over (partition by k), min(s) over (partition by k), avg(v) over (partition by k order by id)",
        "sum(v) over (order by id rows between 20 preceding and 5 following), count(v) over (order by v)",
        "max(s) over (order by v range between 10 preceding and 10 following)",
        "sum(v) over (partition by k order by v groups between 1 preceding and 1 following)",
        "sum(v) over (order by id rows between 5 following and 9 following)",
        "count(*) filter (where v > 40) over (partition by s order by id)",
        "array_agg(v) over (partition by k order by id rows between unbounded preceding and current row)",
        "sum(v) over (partition by k order by id rows between unbounded preceding and unbounded following)",
    ];
    for batch_rows in [1, 13, 900] {
        let context = context(batch_rows, None);
        context.register_table("t", Arc::new(table(batch_rows))).expect("has a new name");
        for window in windows {
            let sql = format!("select id, k, s, {window} from t");
            let plan = context.sql(&sql).await.expect("is right").create_physical_plan().await;
            let plan = plan.expect("can be planned");
            let expected = datafusion::physical_plan::collect(plan.clone(), context.task_ctx()).await;
            let fresh = datafusion::physical_plan::execution_plan::reset_plan_states(plan).expect("resets");
            let got = datafusion::physical_plan::collect(replaced(fresh), context.task_ctx()).await;
            let (got, expected) = (lines(&got.expect("runs")), lines(&expected.expect("runs")));
            assert!(got == expected, "{sql}");
        }
    }
}
