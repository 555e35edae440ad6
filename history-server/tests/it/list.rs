//! The list of jobs and its search.

use std::fs;

use penstock_protocol::event::JobState;

use crate::{
    fixtures::{log::bare_summary, store},
    server::{NOW_MS, Server, names},
};

fn with_everything() -> Server {
    let server = Server::new();
    store::write_all(server.root.path(), NOW_MS);
    server
}

#[tokio::test]
async fn live_and_finished_jobs_are_one_list_newest_first() {
    let server = with_everything();
    let list = server.list("?limit=7").await;
    assert_eq!(
        names(&list),
        [
            "nightly_vacuum",
            "user_features_daily",
            "tpch_q05_revenue",
            "campaign_report",
            "top_customers",
            "embeddings_backfill",
            "adhoc"
        ]
    );
    assert_eq!(list["total"], 39);
    assert_eq!(
        list["by_state"],
        serde_json::json!({"QUEUED": 1, "RUNNING": 1, "SUCCEEDED": 30, "FAILED": 5, "CANCELLED": 1, "LOST": 1})
    );
}

#[tokio::test]
async fn jobs_are_found_by_words_state_owner_time_class_and_label() {
    let server = with_everything();
    for (query, total) in [
        ("?q=backfill", 1),
        ("?q=REVENUE%20embeddings", 1),
        ("?q=o_custky", 1),
        ("?q=scheduled__2026", 14),
        ("?q=nothing-like-this", 0),
        ("?name=vacuum", 1),
        ("?state=queued,running", 2),
        ("?owner=linus", 2),
        ("?client=airflow&state=LOST", 1),
        ("?class=USER_SQL", 1),
        ("?label=team=ranking,env=prod&limit=1", 39),
        ("?label=team=nobody", 0),
        ("?since=10m", 4),
        ("?since=24h&until=1h", 31),
    ] {
        let list = server.list(query).await;
        assert_eq!(list["total"], total, "{query}");
    }
}

#[tokio::test]
async fn counts_by_state_do_not_depend_on_the_states_that_are_shown() {
    let server = with_everything();
    let list = server.list("?state=FAILED").await;
    assert_eq!((&list["total"], &list["by_state"]["SUCCEEDED"]), (&5.into(), &30.into()));
}

#[tokio::test]
async fn pages_of_the_list_hold_every_job_once() {
    let server = with_everything();
    let mut ids = Vec::new();
    for offset in (0..39).step_by(10) {
        let list = server.list(&format!("?limit=10&offset={offset}")).await;
        ids.extend(
            list["jobs"].as_array().unwrap().iter().map(|job| job["job_id"].as_str().unwrap().to_owned()),
        );
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((count, ids.len()), (39, 39));
}

#[tokio::test]
async fn jobs_are_ordered_as_asked() {
    let server = with_everything();
    let list = server.list("?sort=duration").await;
    let durations: Vec<i64> =
        list["jobs"].as_array().unwrap().iter().map(|job| job["duration_ms"].as_i64().unwrap()).collect();
    assert!(durations.is_sorted_by(|a, b| a >= b));
    let list = server.list("?sort=name&limit=1").await;
    assert_eq!(names(&list), ["adhoc"]);
}

#[tokio::test]
async fn a_long_list_is_searched_and_a_deleted_job_disappears() {
    let server = Server::new();
    let mut first = None;
    for n in 0..1000 {
        let summary = bare_summary(NOW_MS - i64::from(n) * 1000 - 10_000, n, JobState::Succeeded);
        let dir = server.root.path().join(summary.job.to_string());
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("summary.json"), serde_json::to_vec(&summary).unwrap()).unwrap();
        first.get_or_insert(dir);
    }
    let list = server.list("?q=team-3&limit=3").await;
    assert_eq!((&list["indexed"], &list["total"]), (&1000.into(), &200.into()));
    assert_eq!(names(&list), ["job_3", "job_8", "job_13"]);
    fs::remove_dir_all(first.unwrap()).unwrap();
    assert_eq!(server.list("").await["indexed"], 999);
}
