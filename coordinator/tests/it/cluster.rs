//! Starts what a test needs and speaks REST to it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use penstock_common::{
    clock::{Clock, SystemClock},
    lifecycle::Tasks,
    net::{Network, Tcp},
};
use penstock_coordinator::{Config, Parts};
use serde_json::{Value, json};

pub struct Cluster {
    pub rest: String,
    pub grpc: SocketAddr,
    pub folder: PathBuf,
    http: reqwest::Client,
    shuffle: Tasks,
    coordinator: Tasks,
    _temporary: tempfile::TempDir,
}

pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Arc::new(SystemClock), change).await
    }

    /// With the coordinator's time as the clock says; everything else lives by the machine's.
    pub async fn start_at(clock: Arc<dyn Clock>, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_with_parts(clock, Parts::default(), change).await
    }

    pub async fn start_with_parts(
        clock: Arc<dyn Clock>,
        parts: Parts,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_path_buf();
        let shuffle = Tasks::new("shuffle");
        let master = start_shuffle_service(&folder, &shuffle).await;
        let coordinator = Tasks::new("coordinator");
        let mut config = Config {
            rest_addr: "127.0.0.1:0".into(),
            grpc_addr: "127.0.0.1:0".into(),
            history_url: "http://history:7080/".into(),
            state_dir: folder.join("state"),
            shuffle_masters: vec![master],
            ..Config::default()
        };
        change(&mut config);
        let started = penstock_coordinator::start_with(config, tcp(), clock, coordinator.clone(), parts);
        let handle = started.await.unwrap();
        Self {
            rest: format!("http://{}", handle.rest),
            grpc: handle.grpc,
            folder,
            http: reqwest::Client::new(),
            shuffle,
            coordinator,
            _temporary: temporary,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        let response = self.http.get(format!("{}{path}", self.rest)).send().await.unwrap();
        Answer { status: response.status().as_u16(), body: json_or_text(response.bytes().await.unwrap()) }
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let request = self.http.post(format!("{}{path}", self.rest));
        let request = request.header("content-type", "application/json").body(body.to_string());
        let response = request.send().await.unwrap();
        Answer { status: response.status().as_u16(), body: json_or_text(response.bytes().await.unwrap()) }
    }

    /// Submits and says the job's id.
    pub async fn submit(&self, sql: &str) -> String {
        let answer = self.post("/api/v1/jobs", json!({ "sql": sql })).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["job_id"].as_str().unwrap().to_owned()
    }

    /// The job once it has ended.
    pub async fn ended(&self, job: &str) -> Value {
        let answer = self.get(&format!("/api/v1/jobs/{job}?wait=60s")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let state = answer.body["state"].as_str().unwrap();
        assert!(["SUCCEEDED", "FAILED", "CANCELLED"].contains(&state), "{}", answer.body);
        answer.body
    }

    pub async fn stop(self) {
        self.coordinator.stop(Duration::from_secs(20)).await.unwrap();
        self.shuffle.stop(Duration::from_secs(20)).await.unwrap();
    }
}

pub fn tcp() -> Arc<dyn Network> {
    Arc::new(Tcp)
}

async fn start_shuffle_service(folder: &std::path::Path, tasks: &Tasks) -> String {
    use penstock_shuffle_service::{master, worker};
    let any = || "127.0.0.1:0".to_owned();
    let config = master::Config { control_listen: any(), admin_listen: String::new(), ..Default::default() };
    let master = master::start(config, tcp(), Arc::new(SystemClock), tasks.clone()).await.unwrap();
    let config = worker::Config {
        name: "worker-1".into(),
        masters: vec![master.control.to_string()],
        admin_listen: String::new(),
        data_dirs: vec![folder.join("worker")],
        ..Default::default()
    };
    let worker = worker::start(config, tcp(), Arc::new(SystemClock), tasks.clone()).await.unwrap();
    worker.registered().await;
    master.control.to_string()
}

fn json_or_text(bytes: impl AsRef<[u8]>) -> Value {
    let bytes = bytes.as_ref();
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
}
