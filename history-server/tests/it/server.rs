//! A server over a temporary folder with a clock that stands still.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Response, StatusCode},
};
use penstock_common::clock::{TestClock, Timestamp};
use penstock_history_server::{
    index::Index,
    logs::Logs,
    rest::{self, App},
    source::Source,
};
use penstock_protocol::ids::JobId;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

pub const LOST_AFTER: Duration = Duration::from_secs(120);
pub const NOW_MS: i64 = 1_795_000_000_000;

pub struct Server {
    pub root: TempDir,
    pub clock: Arc<TestClock>,
    index: Arc<Index>,
    router: Router,
}

impl Server {
    pub fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap())
    }

    pub fn over(root: TempDir) -> Self {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(NOW_MS)));
        let source = Source::open(root.path().to_str().unwrap()).unwrap();
        let logs = Arc::new(Logs::new(source.clone(), 100_000));
        let index = Arc::new(Index::new(source, logs.clone(), clock.clone(), LOST_AFTER));
        let router = rest::router(App { index: index.clone(), logs, clock: clock.clone() });
        Self { root, clock, index, router }
    }

    pub async fn refresh(&self) {
        self.index.refresh().await.unwrap();
    }

    pub async fn request(&self, path: &str) -> Response<Body> {
        self.router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    pub async fn answer(&self, path: &str) -> (StatusCode, Value) {
        let response = self.request(path).await;
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, value) = self.answer(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    pub async fn page(&self, job: JobId) -> Value {
        self.get(&format!("/api/v1/jobs/{job}")).await
    }

    /// The list after a look at the store.
    pub async fn list(&self, query: &str) -> Value {
        self.refresh().await;
        self.get(&format!("/api/v1/jobs{query}")).await
    }
}

pub fn names(list: &Value) -> Vec<&str> {
    list["jobs"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap()).collect()
}
