//! The main path: submit, plan, dispatch, result; and everything a client asks on the way.

use std::{sync::Arc, time::Duration};

use penstock_common::clock::{Clock, SystemClock, TestClock};
use penstock_coordinator::Config;
use penstock_protocol::{
    pb::to_executor::Message,
    task::{AttemptOutcome, FailureClass, OutputTarget},
};
use serde_json::json;

use crate::{cluster::Cluster, executor::Executor};

#[tokio::test]
async fn a_query_is_planned_dispatched_and_answered() {
    let cluster = Cluster::start().await;
    let mut executor = Executor::join(&cluster, "e1", 2).await;
    let job = cluster.submit("select 41 + 1 as answer").await;
    let (task, definition) = executor.task().await;
    let definition = definition.expect("the first task brings its stage");
    assert_eq!(definition.job.to_string(), job);
    assert!(matches!(definition.output, OutputTarget::Result { .. }));
    executor.answer(task.attempt, "answer", vec![42]).await;

    let status = cluster.ended(&job).await;
    assert_eq!(status["state"], "SUCCEEDED", "{status}");
    assert_eq!(status["progress"]["tasks_finished"], 1);
    assert_eq!(status["statements"][0]["has_result"], true);
    assert_eq!(status["history_url"], format!("http://history:7080/jobs/{job}"));
    let rows = cluster.get(&format!("/api/v1/jobs/{job}/results/0?format=json")).await;
    assert_eq!((rows.status, rows.body), (200, json!([{ "answer": 42 }])));
    let csv = cluster.get(&format!("/api/v1/jobs/{job}/results/0?format=csv")).await;
    assert_eq!(csv.body, "answer\n42\n");
    cluster.stop().await;
}

#[tokio::test]
async fn a_stage_is_defined_once_and_forgotten_with_its_job() {
    let cluster = Cluster::start().await;
    let mut executor = Executor::join(&cluster, "e1", 1).await;
    let sql = "select 1 as a; select 2 as a";
    let job = cluster.submit(sql).await;
    for value in [1, 2] {
        let (task, definition) = executor.task().await;
        assert!(definition.is_some(), "each statement has stages of its own");
        executor.answer(task.attempt, "a", vec![value]).await;
    }
    assert_eq!(cluster.ended(&job).await["state"], "SUCCEEDED");
    let Some(Message::ForgetJob(forgotten)) = executor.next().await else {
        panic!("the job is not forgotten")
    };
    assert_eq!(uuid::Uuid::from_slice(&forgotten.job).unwrap().to_string(), job);
    cluster.stop().await;
}

#[tokio::test]
async fn a_job_without_executors_says_what_it_waits_for() {
    let cluster = Cluster::start().await;
    let job = cluster.submit("select 1").await;
    let mut version = 0;
    loop {
        let status = cluster.get(&format!("/api/v1/jobs/{job}?wait=30s&since={version}")).await.body;
        if status["waiting"] == "no executor is connected" {
            break;
        }
        version = status["version"].as_u64().unwrap();
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_failed_attempt_is_retried_on_another_executor() {
    let cluster = Cluster::start().await;
    let mut first = Executor::join(&cluster, "e1", 1).await;
    let job = cluster.submit("select 1 as a").await;
    let (task, _) = first.task().await;
    let mut second = Executor::join(&cluster, "e2", 1).await;
    first.fail(task.attempt, FailureClass::Infrastructure, "the disk is gone").await;
    let (again, _) = second.task().await;
    assert_eq!(again.attempt.task, task.attempt.task);
    assert_ne!(again.attempt.number, task.attempt.number);
    second.answer(again.attempt, "a", vec![1]).await;
    assert_eq!(cluster.ended(&job).await["state"], "SUCCEEDED");
    let tasks = cluster.get(&format!("/api/v1/jobs/{job}/stages/0/tasks")).await.body;
    assert_eq!(tasks["tasks"][0]["attempts"].as_array().unwrap().len(), 2);
    cluster.stop().await;
}

#[tokio::test]
async fn a_user_error_fails_the_job_at_once_and_says_where() {
    let cluster = Cluster::start().await;
    let mut executor = Executor::join(&cluster, "e1", 1).await;
    let job = cluster.submit("select 1 / 0 as a").await;
    let status = match tokio::time::timeout(std::time::Duration::from_secs(30), executor.task()).await {
        Ok((task, _)) => {
            executor.fail(task.attempt, FailureClass::UserData, "division by zero").await;
            cluster.ended(&job).await
        }
        Err(_) => panic!("no task came"),
    };
    assert_eq!(status["state"], "FAILED");
    assert_eq!(status["failure"]["class"], "USER_DATA");
    assert_eq!(status["failure"]["stage"], 0);
    assert_eq!(status["failure"]["executor"], "e1");
    cluster.stop().await;
}

#[tokio::test]
async fn cancelling_stops_the_task_and_ends_the_job() {
    let cluster = Cluster::start().await;
    let mut executor = Executor::join(&cluster, "e1", 1).await;
    let job = cluster.submit("select 1 as a").await;
    let (task, _) = executor.task().await;
    let answer = cluster.post(&format!("/api/v1/jobs/{job}/cancel"), json!({ "reason": "not needed" })).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(matches!(executor.next().await, Some(Message::Cancel(_))));
    executor.report(task.attempt, AttemptOutcome::Cancelled).await;
    let status = cluster.ended(&job).await;
    assert_eq!(status["state"], "CANCELLED");
    let rows = cluster.get(&format!("/api/v1/jobs/{job}/results/0")).await;
    assert_eq!((rows.status, &rows.body["error"]["code"]), (409, &json!("no_rows")));
    cluster.stop().await;
}

#[tokio::test]
async fn the_same_key_answers_the_same_job_and_another_definition_is_refused() {
    let cluster = Cluster::start().await;
    let submit = async |sql: &str| {
        cluster.post("/api/v1/jobs", json!({ "sql": sql, "idempotency_key": "nightly/1" })).await
    };
    let first = submit("select 1").await;
    assert_eq!((first.status, &first.body["reattached"]), (201, &json!(false)));
    let again = submit("select 1").await;
    assert_eq!((again.status, &again.body["reattached"]), (200, &json!(true)));
    assert_eq!(first.body["job_id"], again.body["job_id"]);
    let other = submit("select 2").await;
    assert_eq!((other.status, &other.body["error"]["code"]), (409, &json!("conflict")));
    assert_eq!(other.body["error"]["job_id"], first.body["job_id"]);
    let gone = cluster.post("/api/v1/jobs:cancelByKey", json!({ "idempotency_key": "nightly/1" })).await;
    assert_eq!(gone.status, 200, "{}", gone.body);
    cluster.ended(first.body["job_id"].as_str().unwrap()).await;
    let next = submit("select 2").await;
    assert_eq!((next.status, &next.body["try"]), (201, &json!(2)));
    cluster.stop().await;
}

#[tokio::test]
async fn a_bad_script_fails_with_its_place_before_anything_runs() {
    let cluster = Cluster::start().await;
    let job = cluster.submit("select 1;\nselect nothing from nowhere").await;
    let status = cluster.ended(&job).await;
    assert_eq!(status["state"], "FAILED");
    assert_eq!(status["failure"]["class"], "USER_SQL");
    assert_eq!(status["failure"]["line"], 2, "{status}");
    cluster.stop().await;
}

#[tokio::test]
async fn rows_known_at_planning_need_no_executor() {
    let cluster = Cluster::start().await;
    let job = cluster.submit("explain select 1").await;
    assert_eq!(cluster.ended(&job).await["state"], "SUCCEEDED");
    let rows = cluster.get(&format!("/api/v1/jobs/{job}/results/0?format=json")).await;
    assert_eq!(rows.status, 200, "{}", rows.body);
    assert!(!rows.body.as_array().unwrap().is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn a_result_that_is_gone_says_why_and_what_to_do() {
    let clock = Arc::new(TestClock::at(SystemClock.now()));
    let change = |config: &mut Config| config.inline_results_bytes_max = 1;
    let cluster = Cluster::start_at(clock.clone(), change).await;
    let gone = async |job: &str| {
        let path = format!("/api/v1/jobs/{job}/results/0");
        // The core forgets at its next tick.
        let mut answer = cluster.get(&path).await;
        while answer.status == 200 {
            answer = cluster.get(&path).await;
        }
        assert_eq!((answer.status, &answer.body["error"]["code"]), (410, &json!("expired")));
        let text = |key: &str| answer.body["error"][key].as_str().unwrap().to_owned();
        (text("message"), text("advice"))
    };
    let older = cluster.submit("explain select 1").await;
    cluster.ended(&older).await;
    let newer = cluster.submit("explain select 2").await;
    cluster.ended(&newer).await;
    let (message, advice) = gone(&older).await;
    assert!(message.ends_with("results of newer jobs needed the room"), "{message}");
    assert!(advice.contains("inline_results_bytes_max"), "{advice}");
    clock.advance(Duration::from_secs(3_601));
    let (message, advice) = gone(&newer).await;
    assert!(message.ends_with("results expire 3600 s after their job ended"), "{message}");
    assert!(advice.contains("results_ttl_seconds"), "{advice}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_view_is_in_the_catalog_once_its_job_has_succeeded() {
    let cluster = Cluster::start().await;
    let job = cluster.submit("create view one as select 1 as a").await;
    assert_eq!(cluster.ended(&job).await["state"], "SUCCEEDED");
    let tables = cluster.get("/api/v1/tables").await.body;
    assert_eq!(tables["tables"][0]["name"], "one");
    assert_eq!(cluster.get("/api/v1/tables/one").await.body["kind"], "view");
    let wrong = cluster.get("/api/v1/tables/ome").await;
    assert_eq!(wrong.status, 404);
    assert_eq!(wrong.body["error"]["advice"], "did you mean `one`?");
    cluster.stop().await;
}

#[tokio::test]
async fn the_log_tells_the_story_and_hides_secrets() {
    let cluster = Cluster::start().await;
    let mut executor = Executor::join(&cluster, "e1", 1).await;
    let body = json!({
        "sql": "select 7 as a where $api_token = concat('hush', '-', $day)",
        "parameters": { "api_token": "hush-hush", "day": "monday" },
        "name": "story",
    });
    let answer = cluster.post("/api/v1/jobs", body).await;
    let job = answer.body["job_id"].as_str().unwrap().to_owned();
    let (task, _) = executor.task().await;
    executor.answer(task.attempt, "a", vec![7]).await;
    cluster.ended(&job).await;
    let mut next = 0;
    let mut lines = Vec::new();
    loop {
        let page = cluster.get(&format!("/api/v1/jobs/{job}/logs?from={next}")).await.body;
        lines.extend(page["lines"].as_array().unwrap().clone());
        next = page["next"].as_u64().unwrap();
        if page["eof"] == true {
            break;
        }
    }
    let text: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert!(text[0].starts_with("submitted as \"story\""), "{text:?}");
    assert_eq!(text.last(), Some(&"SUCCEEDED"), "{text:?}");
    let log = log_files(&cluster.folder.join("state"));
    assert!(log.contains("monday") && !log.contains("hush-hush"), "{log}");
    cluster.stop().await;
}

#[tokio::test]
async fn jobs_are_listed_newest_first_in_pages() {
    let cluster = Cluster::start().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let answer = cluster.post("/api/v1/jobs", json!({ "sql": "explain select 1", "name": name })).await;
        ids.push(answer.body["job_id"].as_str().unwrap().to_owned());
    }
    let page = cluster.get("/api/v1/jobs?limit=2").await.body;
    let names = |page: &serde_json::Value| -> Vec<String> {
        page["jobs"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&page), ["c", "b"]);
    let next = page["next"].as_str().unwrap();
    let rest = cluster.get(&format!("/api/v1/jobs?limit=2&before={next}")).await.body;
    assert_eq!(names(&rest), ["a"]);
    assert!(rest["next"].is_null());
    let batch =
        cluster.post("/api/v1/jobs:batchGet", json!({ "job_ids": [ids[0], uuid::Uuid::nil()] })).await;
    assert_eq!(batch.body["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(batch.body["missing"].as_array().unwrap().len(), 1);
    cluster.stop().await;
}

#[tokio::test]
async fn validating_and_explaining_run_nothing() {
    let cluster = Cluster::start().await;
    let sql = "create view v as select 1 as a; select a from v";
    let valid = cluster.post("/api/v1/jobs:validate", json!({ "sql": sql })).await;
    assert_eq!(valid.status, 200, "{}", valid.body);
    assert_eq!(valid.body["statements"][1]["schema"][0]["name"], "a");
    let bad = cluster.post("/api/v1/jobs:validate", json!({ "sql": "selec 1" })).await;
    assert_eq!((bad.status, &bad.body["error"]["class"]), (400, &json!("USER_SQL")));
    assert_eq!(bad.body["error"]["line"], 1);
    let plan = cluster.post("/api/v1/explain", json!({ "sql": "select 1", "distributed": true })).await;
    assert_eq!(plan.body["statements"][0]["stages"].as_array().unwrap().len(), 1, "{}", plan.body);
    assert!(cluster.get("/api/v1/jobs").await.body["jobs"].as_array().unwrap().is_empty());
    assert!(cluster.get("/api/v1/tables").await.body["tables"].as_array().unwrap().is_empty());
    cluster.stop().await;
}

/// Everything that the event log has written, in the spool or in the store.
fn log_files(folder: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text.push_str(&log_files(&path));
        } else if let Some("zst" | "jsonl" | "json") = path.extension().and_then(|name| name.to_str()) {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let bytes = zstd::decode_all(bytes.as_slice()).unwrap_or(bytes);
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    text
}
