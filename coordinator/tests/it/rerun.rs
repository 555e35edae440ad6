//! A stage that runs again: what executors are told, and what clients see.

use penstock_protocol::{
    ids::ShuffleId,
    shuffle::MapOutput,
    task::{AttemptOutcome, Failure, FailureClass, OutputTarget, StageDefinition, TaskOutput},
};
use serde_json::json;

use crate::{cluster::Cluster, executor::Executor};

#[tokio::test]
async fn executors_are_told_anew_what_a_stage_reads_and_writes_when_it_runs_again() {
    let cluster = Cluster::start().await;
    let mut executor = Executor::join(&cluster, "e1", 1).await;
    let sql = "set penstock.partitions = 2; select distinct value % 3 as a from generate_series(1, 9)";
    let job = cluster.submit(sql).await;
    let first = run_producer(&mut executor).await;
    let (task, definition) = executor.task().await;
    let read = definition.expect("the first task brings its stage").inputs[0].shuffle;
    assert_eq!((read, first.run), (first, 0));
    let message = format!("shuffle {read} is lost: worker worker-1 is gone");
    let class = FailureClass::Infrastructure;
    let failure = Failure { class, message, advice: None, lost_shuffle: Some(read) };
    executor.report(task.attempt, AttemptOutcome::Failed(failure)).await;

    let second = run_producer(&mut executor).await;
    assert_eq!(second, ShuffleId { run: 1, ..first });
    let (again, definition) = executor.task().await;
    assert_eq!(definition.expect("its input is another one now").inputs[0].shuffle, second);
    assert_eq!(again.attempt.task, task.attempt.task);
    assert!(again.attempt.number > task.attempt.number);
    executor.answer(again.attempt, "a", vec![1]).await;
    let (other, definition) = executor.task().await;
    assert!(definition.is_none(), "nothing has changed since");
    executor.answer(other.attempt, "a", vec![2]).await;

    let status = cluster.ended(&job).await;
    assert_eq!(status["state"], "SUCCEEDED", "{status}");
    let rerun = &status["reruns"][0];
    assert_eq!((&rerun["stage"], &rerun["run"]), (&json!(first.exchange.0), &json!(1)), "{status}");
    assert_eq!(
        rerun["message"], "ran again because its shuffle data was lost: worker worker-1 is gone",
        "{status}"
    );
    let stages = cluster.get(&format!("/api/v1/jobs/{job}/stages")).await.body;
    assert_eq!(stages["stages"][0]["reruns"][0], *rerun, "{stages}");
    let tasks = cluster.get(&format!("/api/v1/jobs/{job}/stages/{}/tasks", first.exchange)).await.body;
    let runs: Vec<_> =
        tasks["tasks"][0]["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["run"]).collect();
    assert_eq!(runs, [0, 1], "{tasks}");
    let log = cluster.get(&format!("/api/v1/jobs/{job}/logs")).await.body.to_string();
    assert!(log.contains("runs again because its shuffle data was lost: worker worker-1 is gone"), "{log}");
    cluster.stop().await;
}

/// Runs the producing stage without a row, and gives its shuffle.
async fn run_producer(executor: &mut Executor) -> ShuffleId {
    let (task, definition) = executor.task().await;
    let Some(StageDefinition { output: OutputTarget::Shuffle(target), .. }) = definition else {
        panic!("the stage writes another shuffle than before: {definition:?}")
    };
    let output = TaskOutput::Shuffle(MapOutput::default());
    executor.report(task.attempt, AttemptOutcome::Succeeded(output)).await;
    target.shuffle
}
