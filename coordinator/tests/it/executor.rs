//! An executor that does what the test says, over a real stream.

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use bytes::Bytes;
use penstock_batches::Codec;
use penstock_common::grpc;
use penstock_protocol::{
    build,
    ids::AttemptId,
    pb::{self, executor_api_client::ExecutorApiClient, to_coordinator, to_executor},
    task::{
        AttemptMetrics, AttemptOutcome, AttemptReport, Failure, FailureClass, StageDefinition,
        TaskAssignment, TaskOutput,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::cluster::{Cluster, tcp};

pub struct Executor {
    outbound: mpsc::Sender<pb::ToCoordinator>,
    inbound: Streaming<pb::ToExecutor>,
}

impl Executor {
    /// Connects and is welcomed.
    pub async fn join(cluster: &Cluster, name: &str, slots: u32) -> Self {
        let mut executor = Self::open(cluster, hello(name, slots)).await;
        match executor.next().await {
            Some(to_executor::Message::Welcome(_)) => executor,
            other => panic!("not welcome: {other:?}"),
        }
    }

    pub async fn open(cluster: &Cluster, hello: pb::Hello) -> Self {
        let channel = grpc::channel(tcp(), &cluster.grpc.to_string());
        let (outbound, messages) = mpsc::channel(64);
        let mut client = ExecutorApiClient::new(channel);
        let executor = async {
            outbound.send(message(to_coordinator::Message::Hello(hello))).await.unwrap();
            client.connect(ReceiverStream::new(messages)).await.unwrap().into_inner()
        };
        let inbound = executor.await;
        Self { outbound, inbound }
    }

    /// The next order; none when the stream has ended.
    pub async fn next(&mut self) -> Option<to_executor::Message> {
        loop {
            match self.inbound.message().await.ok().flatten()?.message? {
                to_executor::Message::ReportTaken(_) => {}
                order => return Some(order),
            }
        }
    }

    /// The next report that the coordinator says it took.
    pub async fn report_taken(&mut self) -> Option<AttemptId> {
        loop {
            if let to_executor::Message::ReportTaken(attempt) =
                self.inbound.message().await.ok().flatten()?.message?
            {
                return attempt.try_into().ok();
            }
        }
    }

    /// Says nothing more, and listens until the coordinator says nothing more either.
    pub async fn hang_up(self) -> Vec<to_executor::Message> {
        let Self { outbound, mut inbound } = self;
        drop(outbound);
        let mut said = Vec::new();
        while let Ok(Some(message)) = inbound.message().await {
            said.extend(message.message);
        }
        said
    }

    /// The next task, with the definition of its stage if it came just before.
    pub async fn task(&mut self) -> (TaskAssignment, Option<StageDefinition>) {
        let mut definition = None;
        loop {
            match self.next().await.expect("the stream is open") {
                to_executor::Message::DefineStage(stage) => definition = Some(stage.try_into().unwrap()),
                to_executor::Message::Run(task) => return (task.try_into().unwrap(), definition),
                to_executor::Message::ForgetJob(_) => {}
                other => panic!("not a task: {other:?}"),
            }
        }
    }

    pub async fn say(&self, what: to_coordinator::Message) {
        self.outbound.send(message(what)).await.unwrap();
    }

    pub async fn report(&self, attempt: AttemptId, outcome: AttemptOutcome) {
        let report =
            AttemptReport { attempt, outcome, metrics: AttemptMetrics { run_ms: 5, ..Default::default() } };
        self.say(to_coordinator::Message::Report(report.into())).await;
    }

    pub async fn fail(&self, attempt: AttemptId, class: FailureClass, why: &str) {
        let failure = Failure { class, message: why.into(), advice: None, lost_shuffle: None };
        self.report(attempt, AttemptOutcome::Failed(failure)).await;
    }

    /// Ends a task of a query's last stage with rows of one column.
    pub async fn answer(&self, attempt: AttemptId, column: &str, values: Vec<i64>) {
        let rows = values.len() as u64;
        let output = TaskOutput::Inline { rows, batches: vec![payload(column, values)] };
        self.report(attempt, AttemptOutcome::Succeeded(output)).await;
    }
}

pub fn hello(name: &str, slots: u32) -> pb::Hello {
    pb::Hello {
        build: build().into(),
        executor: name.into(),
        incarnation: 1,
        slots,
        host: "test".into(),
        memory_bytes: 1 << 30,
        running: Vec::new(),
    }
}

fn message(message: to_coordinator::Message) -> pb::ToCoordinator {
    pb::ToCoordinator { message: Some(message) }
}

fn payload(column: &str, values: Vec<i64>) -> Bytes {
    let schema = Schema::new(vec![Field::new(column, DataType::Int64, false)]);
    let column = std::sync::Arc::new(Int64Array::from(values));
    let batch = RecordBatch::try_new(schema.into(), vec![column]).unwrap();
    penstock_batches::encode(&batch, Codec::None).unwrap()
}
