//! What bad input gets: one clear message.

use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test]
async fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let cluster = Cluster::start().await;
    let answer = cluster.post("/api/v1/jobs", json!({ "sql": "select 1", "idempotencykey": "a" })).await;
    assert_eq!((answer.status, &answer.body["error"]["code"]), (400, &json!("unknown_key")));
    assert_eq!(answer.body["error"]["advice"], "did you mean `idempotency_key`?");
    let answer = cluster.get("/api/v1/jobs?limmit=3").await;
    assert_eq!(answer.body["error"]["advice"], "did you mean `limit`?");
    cluster.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_404_in_the_shape_of_every_error() {
    let cluster = Cluster::start().await;
    let nobody = uuid::Uuid::nil();
    for path in [
        "/api/v1/nothing".to_owned(),
        "/api/v1/jobs/no-id".to_owned(),
        format!("/api/v1/jobs/{nobody}"),
        format!("/api/v1/jobs/{nobody}/stages"),
        format!("/api/v1/jobs/{nobody}/logs"),
        format!("/api/v1/jobs/{nobody}/results/0"),
        "/api/v1/tables/none".to_owned(),
    ] {
        let answer = cluster.get(&path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
        assert!(answer.body["error"]["message"].is_string(), "{path}: {}", answer.body);
    }
    let answer = cluster.post(&format!("/api/v1/jobs/{nobody}/cancel"), json!({})).await;
    assert_eq!(answer.status, 404);
    cluster.stop().await;
}

#[tokio::test]
async fn a_body_that_is_no_object_or_too_large_is_refused() {
    let cluster = Cluster::start_with(|config| config.request_bytes_max = 1_000).await;
    assert_eq!(cluster.post("/api/v1/jobs", json!([1])).await.status, 400);
    assert_eq!(cluster.post("/api/v1/jobs", json!({ "sql": "" })).await.status, 400);
    assert_eq!(cluster.post("/api/v1/jobs", json!({ "sql": 3 })).await.status, 400);
    let large = cluster.post("/api/v1/jobs", json!({ "sql": "x".repeat(2_000) })).await;
    assert_eq!((large.status, &large.body["error"]["code"]), (413, &json!("unreadable_body")));
    cluster.stop().await;
}

#[tokio::test]
async fn the_api_describes_itself_and_its_health() {
    let cluster = Cluster::start().await;
    let document = cluster.get("/api/v1/openapi.json").await.body;
    for path in ["/api/v1/jobs", "/api/v1/jobs/{job}", "/api/v1/jobs:validate", "/api/v1/explain"] {
        assert!(document["paths"][path].is_object(), "{path} is documented");
    }
    assert_eq!(cluster.get("/healthz").await.status, 200);
    assert_eq!(cluster.get("/readyz").await.status, 200);
    assert_eq!(cluster.get("/metrics").await.status, 200);
    let info = cluster.get("/api/v1/info").await.body;
    assert_eq!(info["build"], penstock_protocol::build());
    cluster.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let cluster = Cluster::start().await;
    let taken = cluster.rest.trim_start_matches("http://").to_owned();
    let config = penstock_coordinator::Config {
        rest_addr: taken.clone(),
        state_dir: cluster.folder.join("other"),
        ..Default::default()
    };
    let tasks = penstock_common::lifecycle::Tasks::new("second");
    let clock = std::sync::Arc::new(penstock_common::clock::SystemClock);
    let refusal = penstock_coordinator::start(config, crate::cluster::tcp(), clock, tasks).await.unwrap_err();
    assert!(refusal.to_string().contains(&taken), "{refusal}");
    cluster.stop().await;
}
