//! A coordinator whose every word comes from the test, and an executor that talks to it.

use std::{sync::Arc, time::Duration};

use penstock_common::{
    clock::SystemClock,
    grpc,
    lifecycle::{OnFailure, Tasks},
    net::{Network, Tcp},
};
use penstock_executor::{Config, Handle, Parts, runner::TaskRunner};
use penstock_protocol::{
    ids::{AttemptId, AttemptNumber, JobId, StageId, TaskId, TaskIndex},
    pb::{
        self,
        executor_api_server::{ExecutorApi, ExecutorApiServer},
    },
    task::{AttemptReport, OutputTarget, StageDefinition, TaskAssignment},
    wire::executor::{Hello, ToCoordinator, ToExecutor},
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// No test waits this long unless something is broken.
const STUCK: Duration = Duration::from_secs(60);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(STUCK, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

pub struct Coordinator {
    pub addr: String,
    connections: mpsc::Receiver<Connection>,
    _tasks: Tasks,
}

impl Coordinator {
    pub async fn start() -> Self {
        let tasks = Tasks::new("fake coordinator");
        let listener = Tcp.bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (opened, connections) = mpsc::channel(8);
        let routes = tonic::service::Routes::new(ExecutorApiServer::new(Service { opened }));
        tasks.spawn("grpc", OnFailure::StopAll, grpc::serve(listener, routes, tasks.stop_token()));
        Self { addr, connections, _tasks: tasks }
    }

    /// The next stream that an executor opens, with its hello read and not answered.
    pub async fn accept(&mut self) -> (Connection, Hello) {
        let mut connection = soon("a stream", self.connections.recv()).await.unwrap();
        match connection.next().await {
            Some(ToCoordinator::Hello(hello)) => (connection, hello),
            other => panic!("expected a hello, got {other:?}"),
        }
    }

    /// The next stream, welcomed.
    pub async fn welcome(&mut self) -> (Connection, Hello) {
        let (connection, hello) = self.accept().await;
        connection.say(ToExecutor::Welcome { heartbeat_interval: Duration::from_millis(20) }).await;
        (connection, hello)
    }
}

struct Service {
    opened: mpsc::Sender<Connection>,
}

#[tonic::async_trait]
impl ExecutorApi for Service {
    type ConnectStream = ReceiverStream<Result<pb::ToExecutor, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<pb::ToCoordinator>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (outbound, messages) = mpsc::channel(64);
        self.opened.send(Connection { inbound: request.into_inner(), outbound }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// One stream; dropping it closes it.
pub struct Connection {
    inbound: Streaming<pb::ToCoordinator>,
    outbound: mpsc::Sender<Result<pb::ToExecutor, Status>>,
}

impl Connection {
    pub async fn say(&self, message: ToExecutor) {
        self.outbound.send(Ok(message.into())).await.unwrap();
    }

    pub async fn next(&mut self) -> Option<ToCoordinator> {
        let message = soon("a message of the executor", self.inbound.message()).await.ok().flatten();
        message.map(|message| ToCoordinator::try_from(message).unwrap())
    }

    /// The next message that is not a heartbeat.
    pub async fn next_word(&mut self) -> Option<ToCoordinator> {
        loop {
            match self.next().await {
                Some(ToCoordinator::Heartbeat(_)) => {}
                other => return other,
            }
        }
    }

    pub async fn report(&mut self) -> AttemptReport {
        match self.next_word().await {
            Some(ToCoordinator::Report(report)) => *report,
            other => panic!("expected a report, got {other:?}"),
        }
    }

    /// Defines stage `stage`, whose tasks do what `plan` says.
    pub async fn define(&self, stage: u32, plan: &str) {
        let definition = StageDefinition {
            job: job(),
            stage: StageId(stage),
            plan: plan.to_owned().into(),
            settings: Default::default(),
            inputs: vec![],
            output: OutputTarget::Files { staging_url: "file:///staging".to_owned() },
        };
        self.say(ToExecutor::DefineStage(Box::new(definition))).await;
    }

    pub async fn run(&self, attempt: AttemptId) {
        let task = TaskAssignment { attempt, scans: vec![], reads: vec![] };
        self.say(ToExecutor::Run(Box::new(task))).await;
    }
}

pub fn job() -> JobId {
    "01900000-0000-7000-8000-000000000001".parse().unwrap()
}

pub fn attempt(stage: u32, task: u32, number: u32) -> AttemptId {
    let task = TaskId { job: job(), stage: StageId(stage), index: TaskIndex(task) };
    AttemptId { task, number: AttemptNumber(number) }
}

pub struct Executor {
    pub handle: Handle,
    pub tasks: Tasks,
    pub scratch: TempDir,
}

impl Executor {
    pub async fn start(coordinator: &Coordinator, slots: u32, runner: Arc<dyn TaskRunner>) -> Self {
        let parts = Parts { runner: Some(runner), ..Parts::default() };
        Self::start_with(coordinator, Config { slots, ..Config::default() }, parts).await
    }

    pub async fn start_with(coordinator: &Coordinator, config: Config, parts: Parts) -> Self {
        Self::start_all(Arc::new(Tcp), coordinator, config, parts).await
    }

    pub async fn start_on(
        network: Arc<dyn Network>,
        coordinator: &Coordinator,
        runner: Arc<dyn TaskRunner>,
    ) -> Self {
        let parts = Parts { runner: Some(runner), ..Parts::default() };
        Self::start_all(network, coordinator, Config { slots: 1, ..Config::default() }, parts).await
    }

    async fn start_all(
        network: Arc<dyn Network>,
        coordinator: &Coordinator,
        config: Config,
        parts: Parts,
    ) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let config = Config {
            name: "e1".to_owned(),
            coordinator_addr: coordinator.addr.clone(),
            scratch_dir: scratch.path().to_owned(),
            ..config
        };
        let tasks = Tasks::new("executor under test");
        let clock = Arc::new(SystemClock);
        let handle =
            penstock_executor::start_with(config, network, clock, tasks.clone(), parts).await.unwrap();
        Self { handle, tasks, scratch }
    }
}
