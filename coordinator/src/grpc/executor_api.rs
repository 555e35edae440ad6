//! Serves the stream that each executor opens: decodes what it says into events.
//!
//! The first message must be `Hello` with exactly our build. Then every message is one event for the loop, in order.
//! What goes out comes from [`super::executors`].

use std::sync::Arc;

use penstock_common::lifecycle::{OnFailure, Tasks};
use penstock_protocol::{
    BUILD,
    decode::{self, DecodeError, Required},
    ids::{AttemptId, ExecutorId, Incarnation},
    pb::{self, executor_api_server::ExecutorApi},
    task::AttemptReport,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::executors::{ConnectionId, Executors, outbox};
use crate::{event::Event, event_loop::Inbox};

/// The service; one for all executors.
#[derive(Debug, Clone)]
pub struct ExecutorService {
    pub inbox: Inbox,
    pub executors: Arc<Executors>,
    pub heartbeat_interval_ms: u64,
    pub tasks: Tasks,
}

type Messages = tokio::sync::mpsc::Sender<Result<pb::ToExecutor, Status>>;

#[tonic::async_trait]
impl ExecutorApi for ExecutorService {
    type ConnectStream = ReceiverStream<Result<pb::ToExecutor, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<pb::ToCoordinator>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (messages, outbound) = outbox();
        let service = self.clone();
        let stop = self.tasks.stop_token();
        self.tasks.spawn("executor-stream", OnFailure::Log, async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                served = service.serve(request.into_inner(), messages) => served,
            }
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

impl ExecutorService {
    async fn serve(
        self,
        mut inbound: Streaming<pb::ToCoordinator>,
        messages: Messages,
    ) -> Result<(), Status> {
        let hello = match Hello::receive(&mut inbound).await {
            Ok(hello) => hello,
            Err(refusal) => return refuse(&messages, refusal).await,
        };
        let (executor, incarnation) = (hello.executor.clone(), hello.incarnation);
        let close = CancellationToken::new();
        let welcome = pb::Welcome { heartbeat_interval_ms: self.heartbeat_interval_ms };
        send(&messages, pb::to_executor::Message::Welcome(welcome)).await;
        let id = self.executors.connect(&executor, incarnation, messages, close.clone());
        self.inbox.send(hello.into_event()).await;
        let reason = tokio::select! {
            reason = self.listen(&executor, incarnation, &mut inbound) => reason,
            () = close.cancelled() => "the coordinator closed its stream".to_owned(),
        };
        self.farewell(executor, incarnation, id, reason).await;
        Ok(())
    }

    /// Until the stream ends; says why it ended.
    async fn listen(
        &self,
        executor: &ExecutorId,
        incarnation: Incarnation,
        inbound: &mut Streaming<pb::ToCoordinator>,
    ) -> String {
        loop {
            match inbound.message().await {
                Ok(Some(message)) => match decode(executor, incarnation, message) {
                    Ok(event) => {
                        let reported = match &event {
                            Event::AttemptReported { report, .. } => Some(report.attempt),
                            _ => None,
                        };
                        self.inbox.send(event).await;
                        if let Some(attempt) = reported {
                            // If it is not connected any more it sends the report again, which is harmless.
                            let _ = self.executors.report_taken(executor, incarnation, attempt);
                        }
                    }
                    Err(error) => {
                        tracing::error!(%executor, %error, "executor sent a message that cannot be read");
                        return format!("it sent a message that cannot be read: {error}");
                    }
                },
                Ok(None) => return "it closed its stream".to_owned(),
                Err(status) => return format!("its stream broke: {}", status.message()),
            }
        }
    }

    async fn farewell(
        &self,
        executor: ExecutorId,
        incarnation: Incarnation,
        id: ConnectionId,
        reason: String,
    ) {
        // A newer stream of the same executor has taken over: for the core it never left.
        if self.executors.disconnected(&executor, id) {
            tracing::info!(%executor, %reason, "executor disconnected");
            self.inbox.send(Event::ExecutorDisconnected { executor, incarnation, reason }).await;
        }
    }
}

async fn refuse(messages: &Messages, reason: String) -> Result<(), Status> {
    tracing::warn!(%reason, "an executor was refused");
    send(messages, pb::to_executor::Message::Refused(pb::Refused { reason })).await;
    Ok(())
}

async fn send(messages: &Messages, message: pb::to_executor::Message) {
    // The executor is gone already: the reading side finds out.
    let _ = messages.send(Ok(pb::ToExecutor { message: Some(message) })).await;
}

/// What an executor says first, checked.
struct Hello {
    executor: ExecutorId,
    incarnation: Incarnation,
    host: String,
    slots: u32,
    running: Vec<AttemptId>,
}

impl Hello {
    async fn receive(inbound: &mut Streaming<pb::ToCoordinator>) -> Result<Self, String> {
        let first = inbound.message().await.map_err(|status| status.message().to_owned())?;
        let Some(pb::to_coordinator::Message::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err("the first message must be a hello".to_owned());
        };
        if hello.build != BUILD {
            return Err(format!(
                "executor {} is build {}, this coordinator is build {BUILD}: run the same build everywhere",
                hello.executor, hello.build
            ));
        }
        Self::decode(hello).map_err(|error| error.to_string())
    }

    fn decode(hello: pb::Hello) -> Result<Self, DecodeError> {
        if hello.executor.is_empty() {
            return Err(DecodeError::missing("executor"));
        }
        Ok(Self {
            executor: ExecutorId::new(hello.executor),
            incarnation: Incarnation(hello.incarnation),
            host: hello.host,
            slots: hello.slots,
            running: decode::each(hello.running, "running")?,
        })
    }

    fn into_event(self) -> Event {
        Event::ExecutorConnected {
            executor: self.executor,
            incarnation: self.incarnation,
            host: self.host,
            slots: self.slots,
            running: self.running,
        }
    }
}

fn decode(
    executor: &ExecutorId,
    incarnation: Incarnation,
    message: pb::ToCoordinator,
) -> Result<Event, DecodeError> {
    use pb::to_coordinator::Message;
    let executor = executor.clone();
    Ok(match message.message.required("message")? {
        Message::Hello(_) => return Err(DecodeError::invalid("message", "a heartbeat or a report")),
        Message::Heartbeat(_) => Event::ExecutorHeartbeat { executor, incarnation },
        Message::Draining(_) => Event::ExecutorDraining { executor, incarnation },
        Message::Epochs(request) => {
            let request = request.try_into().map_err(|error: DecodeError| error.within("epochs"))?;
            Event::EpochsWanted { executor, incarnation, request }
        }
        Message::Report(report) => {
            let report = Box::new(AttemptReport::try_from(report).map_err(|error| error.within("report"))?);
            Event::AttemptReported { executor, incarnation, report }
        }
    })
}
