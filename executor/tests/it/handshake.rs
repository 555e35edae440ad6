use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use penstock_common::net::{Listener, Network, Stream, Tcp};
use penstock_executor::Status;
use penstock_protocol::{
    build,
    wire::executor::{ToCoordinator, ToExecutor},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    coordinator::{Coordinator, Executor, soon},
    runner::Script,
};

#[tokio::test]
async fn an_executor_says_who_it_is_and_then_that_it_lives() {
    let mut coordinator = Coordinator::start().await;
    let executor = Executor::start(&coordinator, 3, Script::new().0).await;
    let (mut connection, hello) = coordinator.welcome().await;
    assert_eq!((hello.build.as_str(), hello.executor.as_str(), hello.slots), (build(), "e1", 3));
    assert_eq!(hello.running, []);
    assert!(hello.incarnation.0 > 0 && hello.memory_bytes > 0 && !hello.host.is_empty());
    for _ in 0..3 {
        assert!(matches!(connection.next().await, Some(ToCoordinator::Heartbeat(_))));
    }
    soon("the connection", executor.handle.reached(Status::Connected)).await;
}

#[tokio::test]
async fn an_executor_of_another_build_ends_with_the_coordinators_reason() {
    let mut coordinator = Coordinator::start().await;
    let executor = Executor::start(&coordinator, 1, Script::new().0).await;
    let (connection, _) = coordinator.accept().await;
    connection
        .say(ToExecutor::Refused { reason: "executor e1 is build 1, this coordinator is build 2".to_owned() })
        .await;
    let failure = soon("the end", executor.tasks.failed()).await;
    assert!(failure.reason.contains("refused this executor: executor e1 is build 1"), "{failure}");
    assert_eq!(executor.handle.status(), Status::Refused);
}

/// Refuses the first connections.
#[derive(Debug)]
struct DownAtFirst(AtomicUsize);

#[async_trait]
impl Network for DownAtFirst {
    async fn connect(&self, addr: &str) -> io::Result<Stream> {
        let refused = self.0.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if refused { Err(io::ErrorKind::ConnectionRefused.into()) } else { Tcp.connect(addr).await }
    }

    async fn bind(&self, addr: &str) -> io::Result<Box<dyn Listener>> {
        Tcp.bind(addr).await
    }
}

#[tokio::test]
async fn an_executor_keeps_trying_to_reach_its_coordinator() {
    let mut coordinator = Coordinator::start().await;
    let network = Arc::new(DownAtFirst(AtomicUsize::new(3)));
    let executor = Executor::start_on(network.clone(), &coordinator, Script::new().0).await;
    assert_eq!(executor.handle.status(), Status::Connecting);
    let _connection = coordinator.welcome().await;
    soon("the connection", executor.handle.reached(Status::Connected)).await;
    assert_eq!(network.0.load(SeqCst), 0);
}

#[tokio::test]
async fn a_probe_learns_whether_the_executor_takes_work() {
    let mut coordinator = Coordinator::start().await;
    let executor = Executor::start(&coordinator, 1, Script::new().0).await;
    assert!(get(&executor, "/healthz").await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(get(&executor, "/readyz").await.unwrap().starts_with("HTTP/1.1 503"));
    let _connection = coordinator.welcome().await;
    soon("the connection", executor.handle.reached(Status::Connected)).await;
    assert!(get(&executor, "/readyz").await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(get(&executor, "/metrics").await.unwrap().contains("penstock_executor_slots"));
}

async fn get(executor: &Executor, path: &str) -> io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(executor.handle.http).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
