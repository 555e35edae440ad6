//! Real tasks: planned, encoded and cut as the coordinator does it, sent over the wire, run by the engine.

use std::{collections::BTreeMap, fs, path::Path};

use datafusion::{
    dataframe::DataFrameWriteOptions,
    prelude::{ParquetReadOptions, SessionContext},
};
use penstock_batches::Decoder;
use penstock_common::bytes::ByteSize;
use penstock_engine::{
    fragment::{RootOutput, cut},
    session::{runtime_env, session},
    settings::Settings,
    stage_graph::Stage,
};
use penstock_executor::{Config, Parts};
use penstock_protocol::{
    ids::{ShuffleId, StageId},
    shuffle::ShuffleTarget,
    task::{
        AttemptOutcome, AttemptReport, FailureClass, OutputTarget, StageDefinition, TaskAssignment,
        TaskOutput,
    },
    wire::executor::ToExecutor,
};

use crate::coordinator::{Coordinator, Executor, attempt, job};

fn settings() -> BTreeMap<String, String> {
    BTreeMap::from([("penstock.partitions".to_owned(), "1".to_owned())])
}

/// Writes `rows` numbers as one Parquet file.
async fn numbers(path: &Path, rows: u64) {
    let context = SessionContext::new();
    let frame = context.sql(&format!("select value as x from generate_series(1, {rows})")).await.unwrap();
    let options = DataFrameWriteOptions::new().with_single_file_output(true);
    frame.write_parquet(path.to_str().unwrap(), options, None).await.unwrap();
}

/// The only stage of `sql` over the table `numbers`.
async fn stage(numbers: &Path, sql: &str) -> Stage {
    let env = runtime_env(None, None, 1 << 30).unwrap();
    let context = session(&Settings::new(settings()).unwrap(), &env).unwrap();
    context
        .register_parquet("numbers", numbers.to_str().unwrap(), ParquetReadOptions::default())
        .await
        .unwrap();
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let mut graph = cut(plan, RootOutput::Result).unwrap();
    assert_eq!(graph.stages.len(), 1, "{graph:?}");
    graph.stages.remove(0)
}

/// Runs the stage's only task on an executor with `memory`.
async fn run(stage: &Stage, memory: ByteSize) -> (AttemptReport, Executor) {
    let mut coordinator = Coordinator::start().await;
    let config = Config { slots: 1, memory, ..Config::default() };
    let executor = Executor::start_with(&coordinator, config, Parts::default()).await;
    let (mut connection, _) = coordinator.welcome().await;
    let shuffle = ShuffleId { job: job(), exchange: StageId(0), run: 0 };
    let target = ShuffleTarget { shuffle, locations: vec![] };
    connection
        .say(ToExecutor::DefineStage(Box::new(StageDefinition {
            job: job(),
            stage: StageId(0),
            plan: stage.encode().unwrap(),
            settings: settings(),
            inputs: vec![],
            output: OutputTarget::Result { target, inline_bytes_max: 1 << 20 },
        })))
        .await;
    let task = TaskAssignment { attempt: attempt(0, 0, 0), scans: stage.task_scans(0), reads: vec![] };
    connection.say(ToExecutor::Run(Box::new(task))).await;
    (connection.report().await, executor)
}

#[tokio::test]
async fn a_query_runs_and_its_rows_come_with_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.parquet");
    numbers(&path, 1000).await;
    let stage = stage(&path, "select sum(x) as total, count(*) as n from numbers").await;
    let (report, _executor) = run(&stage, ByteSize::mib(256)).await;
    let AttemptOutcome::Succeeded(TaskOutput::Inline { rows, batches }) = report.outcome else {
        panic!("{report:?}")
    };
    assert_eq!(rows, 1);
    let mut decoder = Decoder::new(stage.schema.clone());
    let batches: Vec<_> = batches.into_iter().flat_map(|batch| decoder.decode(batch).unwrap()).collect();
    let shown = datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    assert!(shown.contains("500500") && shown.contains("1000"), "{shown}");
    assert!(report.metrics.scanned_bytes > 0 && !report.metrics.operators.is_empty(), "{:?}", report.metrics);
}

#[tokio::test]
async fn running_out_of_memory_is_a_failure_of_resources_with_advice_and_leaves_nothing_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.parquet");
    numbers(&path, 4_000_000).await;
    let stage = stage(&path, "select count(*) from numbers a join numbers b on a.x = b.x").await;
    let (report, executor) = run(&stage, ByteSize::mib(64)).await;
    let AttemptOutcome::Failed(failure) = report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.class, FailureClass::Resources, "{failure:?}");
    assert!(failure.advice.is_some(), "{failure:?}");
    executor.tasks.stop(std::time::Duration::from_secs(60)).await.unwrap();
    assert_eq!(fs::read_dir(executor.scratch.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_input_file_that_changed_since_planning_fails_the_task_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.parquet");
    numbers(&path, 1000).await;
    let stage = stage(&path, "select sum(x) from numbers").await;
    fs::remove_file(&path).unwrap();
    numbers(&path, 2000).await;
    let (report, _executor) = run(&stage, ByteSize::mib(256)).await;
    let AttemptOutcome::Failed(failure) = report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.class, FailureClass::UserData, "{failure:?}");
    assert!(failure.message.contains("numbers.parquet"), "{failure:?}");
}
