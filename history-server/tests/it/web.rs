//! What is served beside REST: the page, health, metrics, the API's description.

use std::{sync::Arc, time::Duration};

use axum::http::{StatusCode, header};
use penstock_common::{clock::SystemClock, lifecycle::Tasks, net::Tcp};
use penstock_history_server::{Config, StartError, start};

use crate::server::Server;

#[tokio::test]
async fn every_path_of_the_page_gets_the_page_and_no_cache_keeps_it() {
    let server = Server::new();
    for path in ["/", "/jobs/01a1fd36-fd17-78dd-a6e4-000000040000?tab=plan"] {
        let response = server.request(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let headers = response.headers();
        assert!(headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
        assert!(["no-cache", "no-store"].contains(&headers[header::CACHE_CONTROL].to_str().unwrap()));
    }
}

#[tokio::test]
async fn a_missing_asset_is_not_the_page() {
    let server = Server::new();
    assert_eq!(server.request("/assets/old-1234.js").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_api_describes_itself() {
    let server = Server::new();
    let document = server.get("/api/v1/openapi.json").await;
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        [
            "/api/v1/cluster",
            "/api/v1/jobs",
            "/api/v1/jobs/{job}",
            "/api/v1/jobs/{job}/events",
            "/api/v1/jobs/{job}/shuffle",
            "/api/v1/jobs/{job}/stages/{stage}/tasks",
            "/api/v1/jobs/{job}/timeline"
        ]
    );
}

#[tokio::test]
async fn a_started_server_is_healthy_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        listen: "127.0.0.1:0".to_owned(),
        event_log: folder.path().to_string_lossy().into_owned(),
        ..Config::default()
    };
    let tasks = Tasks::new("test");
    let handle = start(config.clone(), Arc::new(Tcp), Arc::new(SystemClock), tasks.clone()).await.unwrap();
    assert!(get(&handle.http_addr.to_string(), "/healthz").await.ends_with("ok"));
    assert!(get(&handle.http_addr.to_string(), "/metrics").await.starts_with("HTTP/1.1 200"));

    let taken = Config { listen: handle.http_addr.to_string(), ..config };
    let failure = start(taken, Arc::new(Tcp), Arc::new(SystemClock), Tasks::new("second")).await.unwrap_err();
    assert!(matches!(failure, StartError::Bind { .. }), "{failure}");
    tasks.stop(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn values_that_cannot_work_are_refused_by_name() {
    let config = Config { refresh_seconds: 0, ..Config::default() };
    let failure = start(config, Arc::new(Tcp), Arc::new(SystemClock), Tasks::new("test")).await.unwrap_err();
    assert_eq!(failure.to_string(), "history-server.refresh_seconds is 0, and must be at least 1");
}

async fn get(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
