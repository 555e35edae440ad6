//! What the page of a job shows.

use axum::http::StatusCode;
use penstock_protocol::event::Event;
use serde_json::json;

use crate::{
    fixtures::jobs,
    server::{NOW_MS, Server},
};

#[tokio::test]
async fn a_finished_job_shows_its_stages_with_rows_and_bytes_on_the_edges() {
    let server = Server::new();
    let log = jobs::succeeded(NOW_MS - 60_000, 3);
    log.write(server.root.path());
    let page = server.page(log.job).await;

    assert_eq!((&page["state"], &page["live"]), (&"SUCCEEDED".into(), &false.into()));
    assert_eq!(page["log"]["whole"], true);
    let stages = page["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 10);
    let join = &stages[6];
    assert_eq!(join["name"], "HashJoin(l_orderkey = o_orderkey)");
    let edge = &join["inputs"][1];
    assert_eq!(
        (&edge["stage"], &edge["mode"], &edge["committed"]),
        (&4.into(), &"partitioned".into(), &true.into())
    );
    assert_eq!(edge["rows"], stages[4]["exchange"]["rows"]);
    assert_eq!(edge["bytes"], stages[4]["exchange"]["bytes"]);
    assert_eq!(stages[9]["critical"], true);
}

#[tokio::test]
async fn operators_are_merged_over_the_winners_of_all_tasks() {
    let server = Server::new();
    let log = jobs::succeeded(NOW_MS - 60_000, 3);
    log.write(server.root.path());
    let page = server.page(log.job).await;

    let join = &page["stages"][6]["operators"][1];
    assert_eq!((&join["name"], &join["parent"]), (&"HashJoinExec".into(), &0.into()));
    let rows = &join["rows_out"];
    assert_eq!(rows["count"], 8);
    assert!(rows["min"].as_f64() < rows["median"].as_f64() && rows["median"].as_f64() < rows["max"].as_f64());
    assert_eq!(rows["sum"], page["stages"][6]["totals"]["rows_out"].as_f64().unwrap());
    assert!(join["counters"]["build_input_rows"].as_u64() > Some(0));
}

#[tokio::test]
async fn a_lost_executor_shows_in_notes_attempts_and_lost_work() {
    let server = Server::new();
    let log = jobs::succeeded(NOW_MS - 60_000, 3);
    log.write(server.root.path());
    let page = server.page(log.job).await;

    assert_eq!(page["notes"][0]["text"], "Executor executor-2 was lost: no heartbeat for 10 s");
    let stage = page["stages"].as_array().unwrap().iter().find(|stage| stage["attempts_lost"] == 1).unwrap();
    assert!(stage["totals"]["lost_work_ms"].as_u64() > Some(0));
    assert_eq!(stage["tasks_finished"], stage["tasks"]);
    let path = format!("/api/v1/jobs/{}/stages/{}/tasks?state=lost", log.job, stage["stage"]);
    let lost = server.get(&path).await;
    assert_eq!((&lost["total"], &lost["attempts"][0]["executor"]), (&1.into(), &"executor-2".into()));
}

#[tokio::test]
async fn a_failed_job_says_what_went_wrong_where_and_what_to_do() {
    let server = Server::new();
    let log = jobs::failed(NOW_MS - 60_000, 1);
    log.write(server.root.path());
    let page = server.page(log.job).await;

    assert_eq!(page["state"], "FAILED");
    assert_eq!(page["failure"]["class"], "USER_DATA");
    assert_eq!(page["failure"]["retry_may_help"], false);
    assert!(page["failure"]["message"].as_str().unwrap().contains("part-00011.parquet: row group 3"));
    assert!(page["failure"]["advice"].as_str().unwrap().starts_with("The file is damaged"));
    assert_eq!((&page["failed_attempt"]["stage"], &page["failed_attempt"]["task"]), (&0.into(), &13.into()));
    assert_eq!(page["stages"][1]["state"], "stopped");
}

#[tokio::test]
async fn a_script_shows_each_statement_and_what_it_wrote() {
    let server = Server::new();
    let log = jobs::script(NOW_MS - 60_000, 1);
    log.write(server.root.path());
    let page = server.page(log.job).await;

    let statements = page["statements"].as_array().unwrap();
    assert_eq!(statements.len(), 2);
    assert_eq!((&statements[0]["kind"], &statements[1]["kind"]), (&"catalog".into(), &"sink".into()));
    assert_eq!(statements[1]["outputs"][0]["files"], 64);
    assert_eq!(page["parameters"]["day"], "'2026-11-19'");
    let setting = &page["settings"].as_array().unwrap()[3];
    assert_eq!(setting["layer"], "script");
}

#[tokio::test]
async fn the_timeline_has_all_attempts_in_columns_of_one_length() {
    let server = Server::new();
    let log = jobs::succeeded(NOW_MS - 60_000, 3);
    log.write(server.root.path());
    let timeline = server.get(&format!("/api/v1/jobs/{}/timeline", log.job)).await;

    let columns = timeline["attempts"].as_object().unwrap();
    let lengths: Vec<usize> = columns.values().map(|column| column.as_array().unwrap().len()).collect();
    assert!(lengths.iter().all(|length| *length == 79), "{lengths:?}");
    assert_eq!(timeline["executors"][1]["lost_ms"], 4201);
}

#[tokio::test]
async fn the_timeline_says_how_busy_the_executors_were() {
    let server = Server::new();
    let mut log = jobs::succeeded(NOW_MS - 60_000, 3);
    for second in [1, 2] {
        log.at(
            NOW_MS - 60_000 + second * 1_000,
            Event::ExecutorSampled {
                executor: "executor-1".into(),
                cpu_used: 1.5,
                memory_used_bytes: 700,
                memory_limit_bytes: 1_000,
                scratch_used_bytes: 30,
            },
        );
    }
    log.write(server.root.path());
    let timeline = server.get(&format!("/api/v1/jobs/{}/timeline", log.job)).await;

    let samples = &timeline["executors"][0]["samples"];
    assert_eq!(samples["at_ms"], json!([1_000, 2_000]));
    assert_eq!(samples["cpu_used"], json!([1.5, 1.5]));
    assert_eq!(samples["memory_used_bytes"], json!([700, 700]));
    assert_eq!(timeline["executors"][1]["samples"]["at_ms"], json!([]));
    assert_eq!(server.page(log.job).await["log"]["whole"], true);
}

#[tokio::test]
async fn tasks_come_in_pages_and_sorted_by_a_metric() {
    let server = Server::new();
    let log = jobs::succeeded(NOW_MS - 60_000, 3);
    log.write(server.root.path());
    let path = format!("/api/v1/jobs/{}/stages/4/tasks", log.job);
    let first = server.get(&format!("{path}?limit=10")).await;
    let last = server.get(&format!("{path}?limit=10&offset=20")).await;
    assert_eq!((first["total"].as_u64(), first["attempts"].as_array().unwrap().len()), (Some(24), 10));
    assert_eq!((&last["attempts"][0]["task"], last["attempts"].as_array().unwrap().len()), (&20.into(), 4));

    let slowest = server.get(&format!("{path}?sort=run_ms")).await;
    let runs: Vec<u64> = slowest["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["metrics"]["run_ms"].as_u64().unwrap())
        .collect();
    assert!(runs.is_sorted_by(|a, b| a >= b), "{runs:?}");
}

#[tokio::test]
async fn what_does_not_exist_is_said_with_its_name() {
    let server = Server::new();
    let log = jobs::succeeded(NOW_MS - 60_000, 3);
    log.write(server.root.path());
    let unknown = jobs::succeeded(NOW_MS, 2).job;
    for (path, status, message) in [
        (format!("/api/v1/jobs/{unknown}"), StatusCode::NOT_FOUND, format!("there is no job {unknown}")),
        (
            format!("/api/v1/jobs/{}/stages/77/tasks", log.job),
            StatusCode::NOT_FOUND,
            format!("job {} has no stage 77", log.job),
        ),
        (
            "/api/v1/jobs/..%2f..%2fetc".to_owned(),
            StatusCode::BAD_REQUEST,
            "`../../etc` is not a job id".to_owned(),
        ),
        (
            "/api/v1/nonsense".to_owned(),
            StatusCode::NOT_FOUND,
            "`/api/v1/nonsense` is not part of this API".to_owned(),
        ),
        ("/api/v1/jobs?state=DONE".to_owned(), StatusCode::BAD_REQUEST, "`DONE` is not a state".to_owned()),
    ] {
        server.refresh().await;
        let (found, body) = server.answer(&path).await;
        assert_eq!((found, body["error"]["message"].as_str()), (status, Some(message.as_str())), "{path}");
    }
}

#[tokio::test]
async fn a_stage_that_ran_again_says_why_and_counts_only_its_last_run() {
    use penstock_protocol::{
        event::{AttemptFinished, Event, StageRunAgain},
        ids::{AttemptNumber, StageId, TaskIndex},
        task::AttemptMetrics,
    };
    let server = Server::new();
    let mut log = jobs::running(NOW_MS - 60_000, 3, 5200);
    let (stage, task, attempt, run) = (StageId(0), TaskIndex(0), AttemptNumber(9), 1);
    let reason = "its shuffle data was lost: worker w1: connection refused".to_owned();
    // Twice, as from a writer that could not know whether the first one arrived.
    for _ in 0..2 {
        log.now(Event::StageRunAgain(StageRunAgain { stage, run, reason: reason.clone() }));
    }
    let executor = penstock_protocol::ids::ExecutorId::from("executor-1");
    let started =
        Event::AttemptStarted { stage, task, attempt, run, executor: executor.clone(), queued_ms: 1 };
    log.now(started);
    log.now(Event::AttemptFinished(Box::new(AttemptFinished {
        stage,
        task,
        attempt,
        executor,
        state: "succeeded".to_owned(),
        winner: true,
        failure: None,
        metrics: Some(AttemptMetrics::default()),
    })));
    log.write(server.root.path());
    let page = server.page(log.job).await;

    let stage = &page["stages"][0];
    assert_eq!((&stage["state"], &stage["tasks_finished"]), (&"running".into(), &1.into()), "{stage}");
    assert!(stage["exchange"].is_null(), "{stage}");
    assert_eq!(stage["reruns"].as_array().unwrap().len(), 1, "{stage}");
    let message = format!("ran again because {reason}");
    assert_eq!(
        (&stage["reruns"][0]["run"], &stage["reruns"][0]["message"]),
        (&1.into(), &message.clone().into())
    );
    let says_so = |note: &serde_json::Value| {
        note["kind"] == "rerun" && note["text"].as_str().unwrap().ends_with(&message)
    };
    assert!(page["notes"].as_array().unwrap().iter().any(says_so), "{}", page["notes"]);
    let tasks = server.get(&format!("/api/v1/jobs/{}/stages/0/tasks", log.job)).await;
    let runs = tasks["attempts"].as_array().unwrap().iter().filter(|attempt| attempt["task"] == 0);
    assert_eq!(runs.map(|attempt| attempt["run"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1], "{tasks}");
}
