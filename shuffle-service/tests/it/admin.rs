//! The master's view over HTTP.

use std::net::SocketAddr;

use penstock_common::net::{Network, Tcp};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::{SHUFFLE, Setup, cluster, eventually};

async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = Tcp.connect(&address.to_string()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_admin_view_shows_the_workers_and_what_they_hold() {
    let cluster = cluster(Setup::default()).await;
    let admin = cluster.master.admin.unwrap();
    assert_eq!(get(admin, "/healthz").await.0, "HTTP/1.1 200 OK");
    assert!(get(admin, "/metrics").await.1.contains("penstock_shuffle_workers_alive"));
    cluster.reserve(SHUFFLE, 4).await;
    eventually("the workers report their locations", async || {
        let view: Value = serde_json::from_str(&get(admin, "/api/v1/workers").await.1).unwrap();
        let workers = view["workers"].as_array().unwrap();
        let names: Vec<_> = workers.iter().map(|worker| worker["worker"].as_str().unwrap()).collect();
        assert_eq!(names, ["w0", "w1"]);
        workers.iter().all(|worker| worker["alive"] == true && worker["locations"] == 2)
    })
    .await;
}
