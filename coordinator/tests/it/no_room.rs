//! A coordinator whose job store finds no room: it stands still, says so, and goes on.

use std::sync::Arc;

use penstock_common::clock::SystemClock;
use penstock_coordinator::{Parts, journal::Fact};
use serde_json::json;

use crate::{cluster::Cluster, gated_store::GatedStore};

fn is_submission(fact: &Fact) -> bool {
    matches!(fact, Fact::Submitted { .. })
}

#[tokio::test]
async fn a_submission_that_finds_no_room_is_refused_and_never_runs() {
    let store = Arc::new(GatedStore::full_at(is_submission));
    let parts = Parts { store: Some(store.clone()), ..Parts::default() };
    let cluster = Cluster::start_with_parts(Arc::new(SystemClock), parts, |_| {}).await;
    let submit = async || cluster.post("/api/v1/jobs", json!({ "sql": "explain select 1" })).await;
    // The first one finds out, the second one is told at once.
    for _ in 0..2 {
        let refused = submit().await;
        let error = &refused.body["error"];
        assert_eq!((refused.status, &error["class"]), (507, &json!("RESOURCES")), "{error}");
        assert!(error["message"].as_str().unwrap().contains("the disk is full"), "{error}");
        assert!(error["advice"].as_str().unwrap().contains("state_dir"), "{error}");
    }
    assert_eq!(cluster.get("/readyz").await.status, 503);
    store.open();
    let taken = loop {
        let answer = submit().await;
        if answer.status == 201 {
            break answer.body["job_id"].as_str().unwrap().to_owned();
        }
        assert_eq!(answer.status, 507, "{}", answer.body);
    };
    assert_eq!(cluster.ended(&taken).await["state"], "SUCCEEDED");
    let jobs = cluster.get("/api/v1/jobs").await.body;
    let mut states: Vec<_> =
        jobs["jobs"].as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!(states, ["CANCELLED", "SUCCEEDED"], "what was refused has not run");
    cluster.stop().await;
}
