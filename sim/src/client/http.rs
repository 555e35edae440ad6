//! One HTTP call over the simulated network, on a connection of its own.

use std::{fmt, io, pin::pin, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use penstock_common::net::Network;
use serde_json::Value;

/// What came back, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// No whole answer came: whether the call took effect is not known.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("connecting: {0}")]
    Connect(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("no answer in time")]
    Silence,
    #[error("the answer is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
}

/// Where calls go.
#[derive(Clone, Copy)]
pub struct Server<'a> {
    pub network: &'a dyn Network,
    pub addr: &'a str,
}

impl fmt::Debug for Server<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.addr)
    }
}

impl Server<'_> {
    pub async fn get(&self, path: &str, patience: Duration) -> Result<Answer, CallError> {
        self.call(Method::GET, path, Bytes::new(), patience).await
    }

    pub async fn post(&self, path: &str, body: &Value, patience: Duration) -> Result<Answer, CallError> {
        self.call(Method::POST, path, body.to_string().into(), patience).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        let exchanged = tokio::time::timeout(patience, self.exchange(method, path, body)).await;
        exchanged.unwrap_or(Err(CallError::Silence))
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, CallError> {
        let stream = self.network.connect(self.addr).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.addr)
            .header("content-type", "application/json")
            .body(Full::new(body))
            .expect("method, path and headers are well formed");
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, CallError>(Answer { status, body: serde_json::from_slice(&body)? })
        };
        let (mut answer, mut connection) = (pin!(answer), pin!(connection));
        let mut connected = true;
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                // Its end shows in the answer.
                _ = &mut connection, if connected => connected = false,
            }
        }
    }
}
