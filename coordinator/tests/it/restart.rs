//! What a coordinator remembers of its former life.

use std::{sync::Arc, time::Duration};

use penstock_common::{clock::SystemClock, lifecycle::Tasks};
use penstock_coordinator::Config;
use serde_json::Value;

use crate::cluster::tcp;

struct Life {
    tasks: Tasks,
    rest: String,
}

impl Life {
    async fn begin(folder: &std::path::Path) -> Self {
        let config = Config {
            rest_addr: "127.0.0.1:0".into(),
            grpc_addr: "127.0.0.1:0".into(),
            state_dir: folder.to_path_buf(),
            ..Config::default()
        };
        let tasks = Tasks::new("coordinator");
        let started = penstock_coordinator::start(config, tcp(), Arc::new(SystemClock), tasks.clone());
        let rest = format!("http://{}/api/v1", started.await.unwrap().rest);
        Self { tasks, rest }
    }

    async fn end(self) {
        self.tasks.stop(Duration::from_secs(20)).await.unwrap();
    }

    async fn get(&self, path: &str) -> Value {
        let text = reqwest::get(format!("{}{path}", self.rest)).await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    async fn submit(&self, sql: &str) -> String {
        let body = serde_json::json!({ "sql": sql }).to_string();
        let response =
            reqwest::Client::new().post(format!("{}/jobs", self.rest)).body(body).send().await.unwrap();
        let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        answer["job_id"].as_str().unwrap().to_owned()
    }
}

// Invariant 11: no life goes on with the attempts of a former one.
#[tokio::test]
async fn jobs_and_catalog_survive_and_what_was_running_has_failed_by_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::begin(folder.path()).await;
    let view = life.submit("create view one as select 1 as a").await;
    assert_eq!(life.get(&format!("/jobs/{view}?wait=60s")).await["state"], "SUCCEEDED");
    // No executor: it waits for one.
    let waiting = life.submit("select 1").await;
    let rows = life.submit("explain select 1").await;
    assert_eq!(life.get(&format!("/jobs/{rows}?wait=60s")).await["state"], "SUCCEEDED");
    life.end().await;

    let life = Life::begin(folder.path()).await;
    assert_eq!(life.get("/tables").await["tables"][0]["name"], "one");
    assert_eq!(life.get(&format!("/jobs/{view}")).await["state"], "SUCCEEDED");
    let ended = life.get(&format!("/jobs/{waiting}")).await;
    assert_eq!(ended["state"], "FAILED");
    assert_eq!(ended["failure"]["class"], "INFRASTRUCTURE", "{ended}");
    let log = life.get(&format!("/jobs/{waiting}/logs")).await;
    assert_eq!(log["eof"], true, "{log}");
    let gone = life.get(&format!("/jobs/{rows}/results/0")).await;
    assert_eq!(gone["error"]["code"], "expired");
    let (message, advice) = (gone["error"]["message"].to_string(), gone["error"]["advice"].to_string());
    assert!(message.contains("the coordinator was restarted since"), "{message}");
    assert!(advice.contains("submit the job again, under another idempotency key"), "{advice}");
    life.end().await;
}
