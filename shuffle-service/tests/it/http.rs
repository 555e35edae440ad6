//! Plain HTTP calls to admin views.

use std::net::SocketAddr;

use penstock_common::net::{Network, Tcp};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The status and the body of the answer; `headers` are whole lines.
pub async fn call(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = Tcp.connect(&address.to_string()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

pub async fn get_text(address: SocketAddr, path: &str) -> (u16, String) {
    call(address, "GET", path, "", "").await
}

pub async fn get(address: SocketAddr, path: &str) -> Value {
    let (status, body) = get_text(address, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// The status, and the answer.
pub async fn post(address: SocketAddr, path: &str, body: Value) -> (u16, Value) {
    let (status, body) = call(address, "POST", path, "", &body.to_string()).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

pub async fn delete(address: SocketAddr, path: &str) -> u16 {
    call(address, "DELETE", path, "", "").await.0
}
