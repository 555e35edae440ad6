//! The raw log in pages.

use crate::{
    fixtures::jobs,
    server::{NOW_MS, Server},
};

#[tokio::test]
async fn pages_of_events_hold_every_record_once_and_in_order() {
    let server = Server::new();
    let log = jobs::succeeded(NOW_MS - 60_000, 1);
    log.write(server.root.path());
    let (mut seqs, mut next) = (Vec::new(), 0);
    loop {
        let page = server.get(&format!("/api/v1/jobs/{}/events?from={next}&limit=17", log.job)).await;
        seqs.extend(page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()));
        next = page["next"].as_u64().unwrap();
        if page["end"] == true {
            break;
        }
    }
    assert_eq!(seqs, (1..=log.records.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn events_of_one_type_are_found() {
    let server = Server::new();
    let log = jobs::succeeded(NOW_MS - 60_000, 1);
    log.write(server.root.path());
    let path = format!("/api/v1/jobs/{}/events?type=executor_lost,job_finished", log.job);
    let page = server.get(&path).await;
    let types: Vec<&str> =
        page["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["executor_lost", "job_finished"]);
    assert_eq!(page["end"], true);
}

#[tokio::test]
async fn the_end_of_a_log_is_an_empty_page() {
    let server = Server::new();
    let log = jobs::queued(NOW_MS - 60_000, 1);
    log.write(server.root.path());
    let page = server.get(&format!("/api/v1/jobs/{}/events?from=2", log.job)).await;
    assert_eq!(page, serde_json::json!({"events": [], "next": 2, "end": true}));
}
